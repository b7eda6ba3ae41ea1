// TreeUnpack: a tar into a directory of a container, which may run and change what is there all the while.
//
// Names with ".." are refused. Directories on the way are resolved by openat2(RESOLVE_IN_ROOT) from the container's
// root (CVE-2018-15664: what is swapped for a link leads elsewhere in that root, and never out of it); one that this
// archive itself has made a link is refused. What is there under the last name is never opened, but replaced: a file is
// always a new one (O_EXCL). Nothing is written into kernel filesystems.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "base/result.h"
#include "image/tar_reader.h"
#include "image/tree_archive.h"
#include "sys/unique_fd.h"

namespace davit::image {

struct TreeUnpackOptions {
  TreeIds ids;                            // of the container's user namespace
  bool copy_ids = false;                  // owners as in the archive; false: the container's root
  bool no_overwrite_dir_non_dir = false;  // a directory does not replace a file, nor the other way round
  uint64_t max_entries = 10'000'000;
};

class TreeUnpack {
 public:
  // `root`: the container's, `directory`: a path in it, where that is a directory. Both outlive this.
  TreeUnpack(int root, std::string directory, TreeUnpackOptions options)
      : root_(root), directory_(std::move(directory)), options_(options) {}

  // All entries up to the end of the archive. kInvalidArgument naming an entry, kFailedPrecondition: read-only;
  // kResourceExhausted: a full filesystem, or a cap. What was unpacked by then stays.
  Status WriteAll(TarReader& tar);

 private:
  struct Place {
    int parent = -1;
    std::string base;
    std::string clean;
  };
  Status Write(const TarEntry& entry, TarReader& tar);
  Result<Place> Locate(const std::string& clean);
  Result<sys::UniqueFd> OpenParent(const std::string& parent);
  Status MakeParents(const std::string& parent);
  // Makes room for the entry, as far as the options let it.
  Status Replace(const TarEntry& entry, const Place& place);
  Status WriteFile(const TarEntry& entry, const Place& place, TarReader& tar);
  Status WriteDirectory(const TarEntry& entry, const Place& place);
  Status WriteHardLink(const TarEntry& entry, const Place& place);
  Status WriteOther(const TarEntry& entry, const Place& place);
  Status Finish();
  [[nodiscard]] uint32_t Owner(uint32_t id) const { return options_.ids.Outside(options_.copy_ids ? id : 0); }

  const int root_;
  const std::string directory_;
  const TreeUnpackOptions options_;
  uint64_t entries_ = 0;
  std::set<std::string> links_;  // names that this archive has made symbolic links
  struct Time {
    int64_t seconds;
    uint32_t nanos;
  };
  std::map<std::string, Time> directories_;  // their times are set last, for what is written into them changes them
  std::string cached_parent_;
  sys::UniqueFd cached_fd_;
};

}  // namespace davit::image
