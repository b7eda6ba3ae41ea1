// LayerWriter: puts the entries of one layer into its directory, as overlayfs wants them.
//
// Everything is relative to a descriptor of that directory and resolved with openat2(RESOLVE_IN_ROOT |
// RESOLVE_NO_MAGICLINKS): a symbolic link in the layer, whatever it says, ends inside the layer. Names
// with ".." are refused; a leading "/" is dropped.
//
//   .wh.NAME        -> character device 0/0 named NAME (OCI image-spec, layer.md, "Whiteouts"); nothing where
//                      the layer itself hides all that is below
//   .wh..wh..opq    -> trusted.overlay.opaque="y" on the directory
//   .wh..wh.*       -> ignored: book-keeping of aufs in old images
// Later entries replace earlier ones of the same name; a directory over a directory keeps its content.
// A hard link to what the layer does not have gets an empty file in its place: what it is to be, the layers below
// say (layer_stack.h).
//
// Extended attributes: user.*, security.capability and POSIX ACLs are set; trusted.overlay.* and
// user.overlay.* are refused (they would steer overlayfs); labels and others of the builder's machine
// are left out. A filesystem without user.* gives a warning, one without security.capability an error.
//
// The process needs umask 0 and, for what it uses of them, CAP_CHOWN, DAC_OVERRIDE, FOWNER, FSETID,
// MKNOD, SETFCAP and SYS_ADMIN (trusted.*).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/layer_journal.h"
#include "image/pull_messages.h"
#include "image/tar_reader.h"
#include "sys/unique_fd.h"

namespace davit::image {

struct LayerWriterLimits {
  uint64_t max_bytes = 64ULL << 30;        // of file content, this layer
  uint64_t min_free_bytes = 256ULL << 20;  // what the filesystem keeps
  // Called with the growth of content before it is written; an error stops the layer. For the budget of
  // a whole image. May be empty.
  std::function<Status(uint64_t bytes)> charge;
};

struct LayerTotals {
  uint64_t size = 0;     // bytes of file content; hard-linked files once
  uint64_t entries = 0;  // inodes
};

class LayerWriter {
 public:
  // `root` is the layer's directory: empty, and this class's alone while it lives. `name` is for errors.
  static Result<std::unique_ptr<LayerWriter>> Create(const std::string& root, std::string name,
                                                     LayerWriterLimits limits);

  // Before the first entry, whose reader has the journal as its tap: notes there where the content of files is, and
  // what entries replace is kept. `journal` outlives this.
  void SetJournal(LayerJournal* journal) { journal_ = journal; }

  // All entries of the archive, up to its end; then Finish. The source is not drained.
  // kInvalidArgument naming the entry, kResourceExhausted for caps and a full filesystem (naming it).
  Status WriteAll(TarReader& tar);

  // One entry; its data is read from `tar`.
  Status Write(const TarEntry& entry, TarReader& tar);
  // Sets the directories' times, which writing into them has changed.
  Status Finish();

  [[nodiscard]] const LayerTotals& totals() const { return totals_; }
  // Things that were left out, at most kMaxWarnings of them.
  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
  // What the layers below decide; after Finish. See LayerEvent and layer_stack.h.
  [[nodiscard]] const std::set<std::string>& implicit_directories() const { return implicit_; }
  [[nodiscard]] const std::set<std::string>& whiteout_directories() const { return whiteouts_; }
  [[nodiscard]] const std::vector<LinkBelow>& links_below() const { return links_; }
  // An entry for the root itself.
  [[nodiscard]] bool root_named() const { return directories_.count("") != 0; }

  static constexpr size_t kMaxWarnings = 16;
  static constexpr size_t kMaxDirectories = 1'000'000;
  static constexpr size_t kMaxLinksBelow = 10'000;
  static constexpr size_t kMaxLinkBytes = 4 << 20;  // of their names and targets

 private:
  struct Place;  // an open parent directory and a name in it
  struct DirectoryTime {
    int64_t seconds;
    uint32_t nanos;
  };
  LayerWriter(sys::UniqueFd root, std::string path, std::string name, LayerWriterLimits limits);
  Result<int> Parent(const std::string& parent);
  Result<sys::UniqueFd> OpenParent(const std::string& parent);
  std::string WhereItIs(int directory);
  [[nodiscard]] std::string Physical(const Place& place) const;
  Status MakeParents(const std::string& parent);
  Result<Place> Locate(const std::string& clean);
  Status WriteData(const TarEntry& entry, const Place& place, TarReader& tar, int fd);
  Status WriteRegular(const TarEntry& entry, const Place& place, TarReader& tar);
  Status WriteDirectory(const TarEntry& entry, const std::string& clean);
  Status WriteLink(const TarEntry& entry, const Place& place);
  Status WriteHardLink(const TarEntry& entry, const Place& place);
  Status CountLinkBelow(const std::string& name);
  Status WritePlaceholder(const std::string& target, const Place& place);
  Status WriteNode(const TarEntry& entry, const Place& place);
  Status WriteWhiteout(const std::string& clean, std::string_view base);
  Status SetMetadataAt(const TarEntry& entry, const Place& place);
  Status SetXattrs(const TarEntry& entry, int fd, const std::string& path_for_links);
  Status Replace(const Place& place);
  [[nodiscard]] bool HidesBelow(const std::string& directory) const;
  Status DropOwnWhiteouts();
  void ForgetReplacedLinks();
  Status Charge(uint64_t bytes);
  Status CheckSpace();
  Status Failed(int err, std::string_view what, const std::string& entry) const;
  void Warn(std::string text);

  sys::UniqueFd root_;
  std::string path_;
  std::string name_;
  LayerWriterLimits limits_;
  LayerJournal* journal_ = nullptr;
  LayerTotals totals_;
  std::vector<std::string> warnings_;
  std::set<std::string> implicit_;
  std::set<std::string> whiteouts_;  // directories with whiteouts
  std::vector<LinkBelow> links_;
  std::map<ino_t, size_t> placeholders_;  // to the index in links_
  size_t link_names_ = 0;                 // in all of links_
  size_t link_bytes_ = 0;
  std::map<std::string, DirectoryTime> directories_;
  // The parent of the last entry: archives list a directory's files one after another.
  std::string cached_parent_;
  std::string cached_physical_;  // the same without symbolic links; with a journal only
  sys::UniqueFd cached_fd_;
  bool cached_setgid_ = false;
  uint64_t unchecked_bytes_ = UINT64_MAX;  // since the last look at free space
};

}  // namespace davit::image
