#include "image/layer_pipeline.h"

#include <fmt/format.h>

#include <set>
#include <thread>
#include <utility>

#include "image/byte_ring.h"
#include "image/decompress.h"
#include "image/layer_journal.h"
#include "image/out_of_memory.h"
#include "image/sha256.h"
#include "image/tar_reader.h"
#include "sched/start_thread.h"

namespace davit::image {
namespace {

// Tells a failure of the other thread from one's own.
constexpr std::string_view kOtherSide = "the other half of the pipeline failed";
constexpr uint64_t kMaxInVain = uint64_t{4} << 30;  // bytes that are fetched for their digest alone

// Not so for a disk that is full, say.
bool MayBeTheBlob(StatusCode code) {
  return code == StatusCode::kDataLoss || code == StatusCode::kInvalidArgument || code == StatusCode::kUnimplemented;
}

// The fetching half: compressed bytes in, tar into the ring.
class Inflater {
 public:
  // `blob_at_fault`: why the other half has failed.
  Inflater(const LayerJob& job, ByteRing& ring, PipelineCounters& counters, const std::atomic<bool>& blob_at_fault)
      : job_(job), ring_(ring), counters_(counters), blob_at_fault_(blob_at_fault) {}

  Status Push(std::string_view bytes) {
    size_ += bytes.size();
    if (size_ > job_.blob.size)
      return DataLoss(fmt::format("the blob is longer than the {} bytes of its descriptor", job_.blob.size));
    counters_.bytes_done += bytes.size();
    hash_.Update(bytes);
    if (!useless_.ok()) return {};
    Status inflated = Inflate(bytes);
    const bool blob = inflated.code() == StatusCode::kAborted ? blob_at_fault_.load() : MayBeTheBlob(inflated.code());
    if (inflated.ok() || !blob || !job_.to_the_end || job_.blob.size - size_ > kMaxInVain) return inflated;
    useless_ = std::move(inflated);
    return {};
  }

  Status Finish() {
    if (size_ != job_.blob.size)
      return DataLoss(fmt::format("the blob has {} bytes, its descriptor says {}", size_, job_.blob.size));
    oci::Digest digest = hash_.Finish();
    if (digest != job_.blob.digest) {
      wrong_ = fmt::format("the blob has the digest {}, not {}", digest.ToString(), job_.blob.digest.ToString());
      return DataLoss(wrong_);
    }
    RETURN_IF_ERROR(useless_);
    if (!decompressor_) RETURN_IF_ERROR(Begin());
    RETURN_IF_ERROR(decompressor_->Finish());
    ring_.Close();
    oci::Digest diff_id = ring_.Hash();
    if (!job_.diff_id.empty() && diff_id != job_.diff_id) {
      return DataLoss(fmt::format("the tar has the diff ID {}, the image config says {}", diff_id.ToString(),
                                  job_.diff_id.ToString()));
    }
    return {};
  }

  // Why the bytes are not the blob's; empty: they are, or did not come to their end.
  [[nodiscard]] const std::string& wrong() const { return wrong_; }

 private:
  Status Inflate(std::string_view bytes) {
    if (decompressor_) return decompressor_->Write(bytes, ring_);
    head_.append(bytes);
    if (head_.size() < kMagicBytes) return {};
    return Begin();
  }

  Status Begin() {
    ASSIGN_OR_RETURN(Compression compression, LayerCompression(job_.blob.media_type, head_));
    ASSIGN_OR_RETURN(decompressor_, Decompressor::Create(compression));
    std::string head = std::move(head_);
    return decompressor_->Write(head, ring_);
  }

  const LayerJob& job_;
  ByteRing& ring_;
  PipelineCounters& counters_;
  const std::atomic<bool>& blob_at_fault_;
  Sha256 hash_;
  uint64_t size_ = 0;
  Status useless_;  // why nothing more is unpacked; the rest is only hashed
  std::string wrong_;
  std::string head_;
  std::unique_ptr<Decompressor> decompressor_;
};

// The unpacking half.
Result<UnpackedLayer> Untar(const LayerJob& job, const PullLimits& limits, PipelineCounters& counters,
                            ByteSource& source) {
  LayerWriterLimits writer_limits;
  writer_limits.max_bytes = limits.max_layer_bytes;
  writer_limits.min_free_bytes = limits.min_free_bytes;
  writer_limits.charge = [&](uint64_t bytes) -> Status {
    if (counters.bytes_unpacked.fetch_add(bytes) + bytes > limits.max_image_bytes) {
      return ResourceExhausted(fmt::format("the image unpacks to more than {} bytes", limits.max_image_bytes));
    }
    return {};
  };
  TarLimits tar_limits;
  tar_limits.max_entries = limits.max_layer_entries;
  TarReader tar(source, tar_limits);
  ASSIGN_OR_RETURN(std::unique_ptr<LayerWriter> writer, LayerWriter::Create(job.path, "layer", writer_limits));
  std::unique_ptr<LayerJournal> journal;
  if (!job.journal.empty()) {
    ASSIGN_OR_RETURN(journal, LayerJournal::Create(job.journal, writer_limits.charge));
    tar.SetTap(journal.get());
    writer->SetJournal(journal.get());
  }
  RETURN_IF_ERROR(writer->WriteAll(tar));
  RETURN_IF_ERROR(tar.Drain());
  if (journal) RETURN_IF_ERROR(journal->Finish());
  const std::set<std::string>& implicit = writer->implicit_directories();
  const std::set<std::string>& whiteouts = writer->whiteout_directories();
  return UnpackedLayer{writer->totals(),
                       {implicit.begin(), implicit.end()},
                       {whiteouts.begin(), whiteouts.end()},
                       writer->links_below(),
                       writer->root_named(),
                       writer->warnings()};
}

}  // namespace

Result<UnpackedLayer> UnpackLayer(const LayerJob& job, const PullLimits& limits, PipelineCounters& counters,
                                  const FetchBlob& fetch) {
  const std::string intent = "layer " + job.blob.digest.ToString();
  // Headers and padding cost up to 1.5 KiB an entry; the writer counts content exactly.
  ByteRing ring(limits.max_layer_bytes + limits.max_layer_bytes / 4 + (64ULL << 20));
  Result<UnpackedLayer> unpacked = Internal("not run");
  std::atomic<bool> blob_at_fault{false};
  Inflater inflater(job, ring, counters, blob_at_fault);
  // Made before they are needed: the other half has to be told, memory or not.
  Status stop = Aborted(std::string(kOtherSide));
  Status fail = stop;
  ASSIGN_OR_RETURN_WITH(std::thread untar, sched::StartThread([&] {
                          unpacked = OutOfMemoryAsStatus([&] { return Untar(job, limits, counters, ring); });
                          blob_at_fault = MayBeTheBlob(unpacked.code());
                          if (!unpacked.ok()) ring.Stop(std::move(stop));
                        }),
                        intent);
  // Whatever is thrown, the thread ends first: it uses what is on the stack here.
  Status fetched = OutOfMemoryAsStatus([&]() -> Status {
    RETURN_IF_ERROR(fetch([&](std::string_view bytes) { return inflater.Push(bytes); }));
    return inflater.Finish();
  });
  if (!fetched.ok()) ring.Fail(std::move(fail));
  untar.join();
  if (!inflater.wrong().empty()) return Aborted(inflater.wrong()).Annotate(intent);
  if (!fetched.ok() && fetched.code() != StatusCode::kAborted) return fetched.Annotate(intent);
  if (!unpacked.ok()) return unpacked.status().Annotate(intent);
  if (!fetched.ok()) return fetched.Annotate(intent);
  return unpacked;
}

}  // namespace davit::image
