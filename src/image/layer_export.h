// LayerTar: the tar of a layer, made again of its journal (layer_journal.h) and its directory.
//
// The journal is not believed: it is read with the caps of its writer, in some hundred KiB, names are resolved below
// the layer's own directories with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), and what comes out is compared with
// the diff ID. So one that is cut short or lies costs the export, and nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/layer_journal.h"
#include "image/tar_sparse.h"
#include "oci/digest.h"
#include "sys/unique_fd.h"

struct ZSTD_DCtx_s;

namespace davit::image {

// The records of a journal, one after the other.
class JournalReader {
 public:
  struct Record {
    JournalRecord kind = JournalRecord::kEnd;
    uint64_t size = 0;                  // kZeros, kEnd
    std::string text;                   // kBytes; path of kFile and kReplaced; reason of kInexact
    std::vector<SparseExtent> extents;  // kFile
    uint32_t checksum = 0;              // kFile
  };

  // `source` outlives this.
  static Result<std::unique_ptr<JournalReader>> Create(ByteSource& source);
  // The last one is kEnd; no call after it or after an error. kDataLoss: no journal, damaged or cut short;
  // kUnimplemented: of a later version.
  Result<Record> Next();

 private:
  explicit JournalReader(ByteSource& source);
  Status ReadMagic();
  Status Fill();
  Result<char> Byte();
  Result<uint64_t> Number(uint64_t max);
  Result<std::string> Text(size_t max);
  Status ReadFile(Record& record);
  Status ReadEnd(Record& record);

  ByteSource& source_;
  std::unique_ptr<ZSTD_DCtx_s, size_t (*)(ZSTD_DCtx_s*)> context_;
  std::string_view in_;  // the source's
  std::string out_;
  size_t out_at_ = 0;
  size_t out_size_ = 0;
  bool frame_ended_ = false;
};

class LayerTar {
 public:
  using Sink = std::function<Status(std::string_view)>;

  // `directory`: the layer's (<root>/layers/<hex>). Reads the whole journal once.
  //   kFailedPrecondition  there is none (a layer of an earlier version), or the tar cannot be made again: the text
  //   says why kDataLoss            it is damaged; kUnimplemented: of a later version
  // `go_on` is asked now and then, here and while writing; its error ends the work. May be empty.
  static Result<std::unique_ptr<LayerTar>> Open(const std::string& directory, std::function<Status()> go_on);

  [[nodiscard]] uint64_t size() const { return size_; }
  // kDataLoss naming the file that is not what it was, or when the whole has not the diff ID; the sink's error.
  Status Write(const oci::Digest& diff_id, const Sink& sink);
  // Whether each file has the content that it had when it was unpacked, by the journal's checksums: kDataLoss naming
  // the first that has not. `read` is told how many bytes were read; its error ends the work.
  Status Check(const std::function<Status(uint64_t)>& read);

 private:
  // From this file on (their number in the tar) the name was not there any more: what it was is in replaced/.
  struct Replaced {
    uint64_t files = 0;
    uint64_t number = 0;
  };
  LayerTar() = default;
  Status Look();
  Status GoOn();
  [[nodiscard]] std::pair<bool, std::string> Locate(const std::string& path, uint64_t file) const;
  Result<sys::UniqueFd> OpenFile(const std::string& path, uint64_t file) const;
  Status WriteFile(const JournalReader::Record& record, uint64_t file, const Sink& sink);
  Status WriteRecords(const Sink& sink);

  sys::UniqueFd fs_;
  sys::UniqueFd replaced_;
  sys::UniqueFd journal_;
  std::function<Status()> go_on_;
  std::string buffer_;
  uint64_t size_ = 0;
  std::map<std::string, std::vector<Replaced>> replaced_names_;
};

}  // namespace davit::image
