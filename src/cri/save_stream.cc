// SaveImages over gRPC: the thread that reads the store waits until the client has taken what there is.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "cri/control_service.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

using control::v1::SaveImagesChunk;

constexpr size_t kChunkBytes = size_t{256} << 10;
constexpr size_t kQueued = 4;  // chunks: a client that is slow costs a MiB and no more
constexpr std::chrono::minutes kPatience{5};

// Shared by gRPC, until OnDone, and by the engine, until the export has ended.
class SaveStream final : public ::grpc::ServerWriteReactor<SaveImagesChunk>, public image::ExportSink {
 public:
  void Keep(std::shared_ptr<SaveStream> self) { self_ = std::move(self); }

  // ---- the engine's thread ----
  Status Total(uint64_t bytes) override {
    SaveImagesChunk chunk;
    chunk.set_total_bytes(bytes);
    return Push(std::move(chunk));
  }
  Status Begin(const std::string& path, uint64_t size) override {
    RETURN_IF_ERROR(Flush());
    SaveImagesChunk chunk;
    chunk.set_path(path);
    chunk.set_size(size);
    return Push(std::move(chunk));
  }
  // Pieces of a tar are headers of some hundred bytes and files: they go together.
  Status Write(std::string_view bytes) override {
    std::string* data = pending_.mutable_data();
    if (data->size() + bytes.size() > kChunkBytes) RETURN_IF_ERROR(Flush());
    data = pending_.mutable_data();
    if (data->capacity() < kChunkBytes) data->reserve(kChunkBytes);
    data->append(bytes);
    return data->size() >= kChunkBytes ? Flush() : Status();
  }
  void End(Status status) {
    if (status.ok()) status = Flush();
    std::lock_guard lock(mutex_);
    if (done_) return;
    finished_ = std::move(status);
    if (!finished_->ok()) queue_.clear();
    Pump();
  }
  bool Wanted() {
    std::lock_guard lock(mutex_);
    return !cancelled_;
  }

  // ---- gRPC's threads ----
  void OnCancel() override { Cancel(); }
  void OnWriteDone(bool ok) override {
    if (!ok) Cancel();
    std::lock_guard lock(mutex_);
    writing_ = false;
    Pump();
    changed_.notify_all();
  }
  void OnDone() override {
    std::shared_ptr<SaveStream> last;  // let go of after the lock
    std::lock_guard lock(mutex_);
    done_ = true;
    cancelled_ = true;
    changed_.notify_all();
    last = std::move(self_);
  }

 private:
  Status Flush() {
    if (pending_.data().empty()) return {};
    SaveImagesChunk chunk;
    chunk.Swap(&pending_);
    return Push(std::move(chunk));
  }

  Status Push(SaveImagesChunk chunk) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return cancelled_ || queue_.size() < kQueued; }))
      return DeadlineExceeded("the client has taken nothing for five minutes");
    if (cancelled_) return Cancelled("the client has gone");
    queue_.push_back(std::move(chunk));
    Pump();
    return {};
  }

  void Cancel() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    queue_.clear();
    changed_.notify_all();
  }

  // With the lock held.
  void Pump() {
    if (writing_) return;
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      StartWrite(&current_);
    } else if (finished_ && !ended_) {
      ended_ = true;
      Finish(ToGrpc(*finished_));
    }
  }

  SaveImagesChunk pending_;  // the engine's thread only

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SaveImagesChunk> queue_;
  SaveImagesChunk current_;  // the one being written
  std::optional<Status> finished_;
  bool cancelled_ = false;
  bool writing_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::shared_ptr<SaveStream> self_;
};

}  // namespace

::grpc::ServerWriteReactor<SaveImagesChunk>* ControlService::SaveImages(::grpc::CallbackServerContext*,
                                                                        const control::v1::SaveImagesRequest* request) {
  if (request->images().empty()) return new RefusedStream<SaveImagesChunk>(InvalidArgument("no image is named"));
  auto stream = std::make_shared<SaveStream>();
  stream->Keep(stream);
  engine_.SaveImages(
      {request->images().begin(), request->images().end()}, request->docker(), request->gzip(), stream,
      [stream] { return stream->Wanted(); },
      [stream](const Result<engine::Nothing>& result) { stream->End(result.status()); });
  return stream.get();
}

}  // namespace davit::cri
