// Archives over gRPC: the engine's thread waits for a client that reads or writes slowly, and not for ever.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "cri/file_service.h"
#include "cri/pushed_stream.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

using control::v1::ArchiveChunk;
using control::v1::WriteArchiveRequest;
using control::v1::WriteArchiveResponse;

constexpr size_t kQueued = 4;  // messages of some hundred KiB
constexpr size_t kMaxChunk = size_t{4} << 20;
constexpr std::chrono::minutes kPatience{5};

class ReadStream final : public PushedStream<ArchiveChunk>, public engine::Engine::ArchiveSink {
 public:
  // On the engine's thread.
  Status Begin(const image::TreeStat& stat) override {
    ArchiveChunk chunk;
    Fill(stat, *chunk.mutable_stat());
    return Push(std::move(chunk));
  }
  Status Write(std::string_view bytes) override {
    ArchiveChunk chunk;
    chunk.set_data(bytes.data(), bytes.size());
    return Push(std::move(chunk));
  }
};

// The other way round. Shared by gRPC, until OnDone, and by the engine, until the writing has ended.
class WriteStream final : public ::grpc::ServerReadReactor<WriteArchiveRequest>, public engine::Engine::ArchiveSource {
 public:
  explicit WriteStream(engine::Engine& engine) : engine_(engine) {}
  void Start(std::shared_ptr<WriteStream> self) {
    self_ = std::move(self);
    StartRead(&current_);
  }

  // ---- the engine's thread ----
  Result<std::string> Next() override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return cancelled_ || at_end_ || !queue_.empty(); })) {
      return DeadlineExceeded("the client has sent nothing for five minutes");
    }
    if (cancelled_) return Cancelled("the client has gone");
    if (queue_.empty()) return std::string();
    std::string piece = std::move(queue_.front());
    queue_.pop_front();
    ReadOn();
    return piece;
  }
  void End(const Status& status) {
    std::lock_guard lock(mutex_);
    if (ended_ || done_) return;
    ended_ = true;
    Finish(ToGrpc(status));
  }

  // ---- gRPC's threads ----
  void OnCancel() override { Cancel(); }
  void OnReadDone(bool ok) override {
    std::shared_ptr<WriteStream> self;
    std::unique_lock lock(mutex_);
    reading_ = false;
    if (!ok) {
      at_end_ = true;
      changed_.notify_all();
      if (started_ || ended_) return;
      ended_ = true;
      Finish(ToGrpc(InvalidArgument("the first message is missing")));
      return;
    }
    if (current_.data().size() > kMaxChunk) {
      cancelled_ = true;
      changed_.notify_all();
      if (!ended_) Finish(ToGrpc(ResourceExhausted("a message with more than 4 MiB of data")));
      ended_ = true;
      return;
    }
    if (!current_.data().empty()) queue_.push_back(std::move(*current_.mutable_data()));
    engine::Engine::ArchiveTarget target;
    if (!started_) {
      target = {current_.container(), current_.path(), current_.no_overwrite_dir_non_dir(), current_.copy_ids()};
      self = self_;
    }
    started_ = true;
    ReadOn();
    changed_.notify_all();
    lock.unlock();
    if (self) {
      engine_.WriteArchive(target, self, [self](const Result<engine::Nothing>& result) { self->End(result.status()); });
    }
  }
  void OnDone() override {
    std::shared_ptr<WriteStream> last;
    std::lock_guard lock(mutex_);
    done_ = true;
    cancelled_ = true;
    changed_.notify_all();
    last = std::move(self_);
  }

 private:
  void Cancel() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
    // Of a call that no verb has begun for nobody else would say the end.
    if (started_ || ended_) return;
    ended_ = true;
    Finish(ToGrpc(Cancelled("the client has gone")));
  }
  // With the lock held.
  void ReadOn() {
    if (reading_ || at_end_ || ended_ || queue_.size() >= kQueued) return;
    reading_ = true;
    current_.Clear();
    StartRead(&current_);
  }

  engine::Engine& engine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> queue_;
  WriteArchiveRequest current_;
  bool reading_ = true;
  bool started_ = false;
  bool at_end_ = false;
  bool cancelled_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::shared_ptr<WriteStream> self_;
};

}  // namespace

::grpc::ServerWriteReactor<ArchiveChunk>* FileService::ReadArchive(::grpc::CallbackServerContext*,
                                                                   const control::v1::ReadArchiveRequest* request) {
  auto stream = std::make_shared<ReadStream>();
  stream->Keep(stream);
  engine_.ReadArchive(request->container(), request->path(), stream,
                      [stream](const Result<engine::Nothing>& result) { stream->Close(result.status()); });
  return stream.get();
}

::grpc::ServerReadReactor<WriteArchiveRequest>* FileService::WriteArchive(::grpc::CallbackServerContext*,
                                                                          WriteArchiveResponse*) {
  auto stream = std::make_shared<WriteStream>(engine_);
  stream->Start(stream);
  return stream.get();
}

}  // namespace davit::cri
