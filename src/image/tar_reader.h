// TarReader: one pass over a layer's tar stream, in fixed memory.
//
// Understands what image builders write: v7, ustar (IEEE 1003.1), PAX headers (path, linkpath, size, uid,
// gid, mtime, SCHILY.xattr.*), GNU long names and base-256 numbers, and sparse files (tar_sparse.h). Global PAX
// headers are checked and then ignored, as Go's archive/tar does, so that this engine sees the same tree as the
// others.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/tar_sparse.h"

namespace davit::image {

enum class TarType { kRegular, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

struct TarEntry {
  TarType type = TarType::kRegular;
  std::string name;       // as in the archive: may be absolute or have ".."; no NUL, not empty
  std::string link_name;  // hard and symbolic links
  uint32_t mode = 0;      // 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;  // of the file; 0 but for kRegular
  // Of a sparse file: where the bytes that Data() gives belong, one piece after the other. `size` is more.
  bool sparse = false;
  std::vector<SparseExtent> extents;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanos = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

struct TarLimits {
  size_t max_name = 4096;                // bytes of a name or link target, PATH_MAX
  size_t max_extended_header = 1 << 20;  // bytes of one PAX or GNU long-name header
  uint64_t max_entries = 10'000'000;
};

// Is given every byte of an archive, in order, but what Data() hands out.
class TarTap {
 public:
  virtual ~TarTap() = default;
  virtual Status Raw(std::string_view bytes) = 0;  // an error ends the reading
};

class TarReader {
 public:
  // `source` outlives this.
  explicit TarReader(ByteSource& source, TarLimits limits = {}) : source_(source), limits_(limits) {}

  // Before the first Next; `tap` outlives this.
  void SetTap(TarTap* tap) { tap_ = tap; }

  // The next entry, or nullopt at the end of the archive; what is left of the last entry's data is
  // skipped. kInvalidArgument for a malformed header, kDataLoss when the stream ends too early,
  // kResourceExhausted for a cap; the texts name the entry. No call after an error or the end.
  Result<std::optional<TarEntry>> Next();

  // The next piece of the current entry's data; empty when there is no more of it.
  Result<std::string_view> Data();

  // Reads and drops everything up to the end of the source, so that its producer can end.
  Status Drain();

  [[nodiscard]] uint64_t entries() const { return entries_; }
  // Bytes that the source has given and that are not used yet: after Next the data of an entry begins so many before
  // the source's position.
  [[nodiscard]] size_t buffered() const { return piece_.size(); }

 private:
  struct Extended;
  Result<std::string_view> Take(size_t max);
  Result<std::string_view> TakeTapped(size_t max);
  Result<bool> ReadBlock(char* block);
  Result<std::string> ReadExtended(uint64_t size, std::string_view what);
  Status SkipData();
  Status ParsePax(std::string_view text, bool apply, Extended& extended);
  Status ParseSparseKey(std::string_view key, std::string_view value, Extended& extended);
  // The size of the file and its map, from a header of type 'S' and the blocks behind it.
  Status ReadOldSparse(const char* block, TarEntry& entry);
  // From the PAX headers, in version 1.0 from the beginning of the data.
  Status ReadSparse(Extended& extended, TarEntry& entry);
  Status ReadSparseMap(SparseMap& map);

  ByteSource& source_;
  TarLimits limits_;
  TarTap* tap_ = nullptr;
  std::string_view piece_;  // into the source: what is left of its last piece
  uint64_t data_left_ = 0;
  uint32_t padding_left_ = 0;
  uint64_t entries_ = 0;
  std::string current_;  // name, for errors
};

}  // namespace davit::image
