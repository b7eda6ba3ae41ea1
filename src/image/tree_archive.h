// TreeArchive: what a container has on disk, as a tar. For davit-pull, outside of davitd: the container may change all
// of it meanwhile.
//
// Everything is opened by its name in an open directory and without following links, so whatever is swapped for
// whatever, nothing above the directory is read. Files are opened only once they are known to be files: the open alone
// of a device or FIFO can act, or wait.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/tar_writer.h"

namespace davit::image {

// A container's user namespace: ids from `outside` on are those from 0 on in it. Zero length: none.
struct TreeIds {
  uint32_t outside = 0;
  uint32_t length = 0;
  [[nodiscard]] uint32_t Inside(uint32_t id) const {
    return length != 0 && id >= outside && id - outside < length ? id - outside : id;
  }
  [[nodiscard]] uint32_t Outside(uint32_t id) const { return length != 0 && id < length ? outside + id : id; }
};

// procfs, sysfs and the like: nothing in them is anybody's file, and reading some of it waits.
bool IsKernelFilesystem(int fd);

class TreeArchive {
 public:
  struct Options {
    // The tree is the upper directory of an overlay: whiteouts and opaque directories become the ".wh." files of the
    // OCI image-spec (layer.md). kFailedPrecondition when a directory was renamed as overlayfs' redirect_dir does it.
    bool layer = false;
    TreeIds ids;
    // Paths that are left out while they are empty: mount points that the runtime made. Without a leading "/".
    std::set<std::string> leave_out;
  };
  TreeArchive(TarWriter& tar, Options options) : tar_(tar), options_(std::move(options)) {}

  // `base` of the directory, and all that is below it. `name`: what it is called in the tar.
  // kNotFound; kResourceExhausted: a path of more than 4095 bytes.
  Status Add(int directory, const std::string& base, const std::string& name);
  // What is in an open directory, and itself as "./" where it is the root of a layer or of an export.
  Status AddRoot(int directory);

  [[nodiscard]] uint64_t entries() const { return entries_; }

 private:
  Status Directory(int fd, const std::string& name, const std::string& path);
  Status Content(int fd, const std::string& name, const std::string& path);
  Status Entry(int directory, const std::string& base, const std::string& name, const std::string& path);
  Status File(int handle, const struct stat& info, const std::string& name);
  Status Whiteout(const std::string& name);
  [[nodiscard]] TarEntry Describe(const struct stat& info, const std::string& name) const;
  Status Attributes(int fd, TarEntry& entry) const;
  // Whether it is one of leave_out, and empty.
  bool IsLeftOut(int directory, const std::string& base, const struct stat& info, const std::string& path) const;

  TarWriter& tar_;
  const Options options_;
  uint64_t entries_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // names of files that have several
};

}  // namespace davit::image
