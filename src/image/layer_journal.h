// The journal of a layer: all of its tar that the layer's directory does not have. Written while the layer is unpacked,
// read when it is exported (layer_export.h), so that the export is the same tar to the byte.
//
//   <layer>/journal         headers, padding, PAX records, what stands behind the end mark; and where the content of
//                           each file is to be found. docs/formats/layer-journal.md
//   <layer>/replaced/<n>    files and directories with content that a later entry of the same layer has replaced
//   <layer>/fs/             the layer
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/tar_reader.h"
#include "image/tar_sparse.h"
#include "sys/unique_fd.h"

struct ZSTD_CCtx_s;

namespace davit::image {

inline constexpr const char* kJournalFile = "journal";
inline constexpr const char* kReplacedDirectory = "replaced";

// What stands in front of the compressed records.
inline constexpr std::string_view kJournalMagic = "davit-journal 1\n";
inline constexpr int kJournalWindowLog = 16;  // bounds what a reader of it needs

// Kinds of records.
enum class JournalRecord : char {
  kBytes = 'B',     // as they stand in the tar
  kZeros = 'Z',     // so many zero bytes
  kFile = 'F',      // content of a file
  kReplaced = 'R',  // what the name stood for up to here is in replaced/
  kInexact = 'X',   // the tar cannot be made again, and why
  kEnd = 'E',       // with the size of the tar
};

// Caps, of the writer and of the reader.
inline constexpr size_t kMaxJournalRun = 512 << 10;                // bytes in one kBytes
inline constexpr size_t kMaxJournalPath = 4000;                    // below PATH_MAX with the directory in front
inline constexpr size_t kMaxJournalReason = 300;                   // bytes
inline constexpr uint64_t kMaxJournalReplaced = 65'536;            // names
inline constexpr size_t kMaxJournalReplacedBytes = 8 << 20;        // of these names
inline constexpr uint64_t kMaxJournalBytes = uint64_t{512} << 20;  // compressed

// CRC-32 of gzip and zlib, which names the file that has changed; the diff ID says whether anything has.
uint32_t JournalChecksum(uint32_t before, std::string_view bytes);

// Not thread-safe. A layer that it cannot describe is described as such: what is wrong with a journal never fails a
// pull, but a disk that takes no more does.
class LayerJournal final : public TarTap {
 public:
  // `directory` holds the layer's; made in it: the journal and, when something is replaced, the directory for that.
  // `charge` is called with the journal's growth, and may refuse it; may be empty.
  static Result<std::unique_ptr<LayerJournal>> Create(const std::string& directory,
                                                      std::function<Status(uint64_t)> charge);
  ~LayerJournal() override;

  // The bytes of the tar that are not content of files.
  Status Raw(std::string_view bytes) override;
  // The content of a file was the next in the tar: `extents` of it, or `size` bytes from its beginning. `path` is
  // where it is in the layer, through no symbolic link.
  Status File(const std::string& path, uint64_t size, uint32_t checksum);
  Status File(const std::string& path, const std::vector<SparseExtent>& extents, uint32_t checksum);
  // Moves the name to where it is kept; false: it was not moved, and the caller removes it.
  Result<bool> SetAside(int parent, const std::string& base, const std::string& path);
  void Inexact(std::string_view why);
  // At the end of the tar.
  Status Finish();

 private:
  LayerJournal(sys::UniqueFd directory, sys::UniqueFd file, std::function<Status(uint64_t)> charge);
  Status Begin();
  Status BeginFile(const std::string& path, uint64_t extents);
  Status EndFile(uint32_t checksum);
  Status FlushRun();
  Status FlushZeros();
  Status Put(std::string_view bytes);
  Status PutNumber(uint64_t number);
  Status PutKind(JournalRecord kind);
  Status Compress(bool end);

  static constexpr size_t kIn = 16 << 10;
  static constexpr size_t kOut = 16 << 10;

  sys::UniqueFd directory_;
  sys::UniqueFd file_;
  std::function<Status(uint64_t)> charge_;
  std::unique_ptr<ZSTD_CCtx_s, size_t (*)(ZSTD_CCtx_s*)> context_;
  sys::UniqueFd replaced_;  // opened at the first use
  std::string run_;         // bytes that are not written as a record yet
  uint64_t zeros_ = 0;      // that come behind run_
  std::string in_;
  std::array<char, kOut> out_;
  uint64_t tar_bytes_ = 0;
  uint64_t written_ = 0;
  uint64_t replaced_names_ = 0;
  size_t replaced_bytes_ = 0;
  std::string inexact_;
};

}  // namespace davit::image
