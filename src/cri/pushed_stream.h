// PushedStream: an answer of many messages whose maker, a thread of the engine's, waits for a client that reads slowly,
// and not for ever. (pulled_stream.h is the other way: what waits is in a log, and nobody waits for the client.)
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "cri/codes.h"

namespace davit::cri {

// Shared by gRPC, until OnDone, and by the engine, until the work has ended. Thread-safe.
template <class Message>
class PushedStream : public ::grpc::ServerWriteReactor<Message> {
 public:
  static constexpr size_t kQueued = 4;  // messages of some hundred KiB: a slow client costs a MiB and no more
  static constexpr std::chrono::minutes kPatience{5};

  // Must be called once, before gRPC gets the reactor.
  void Keep(std::shared_ptr<PushedStream> self) { self_ = std::move(self); }

  // ---- the engine's thread ----
  // Waits for room. kDeadlineExceeded when the client takes nothing for kPatience, kCancelled when it has gone.
  Status Push(Message message) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return cancelled_ || queue_.size() < kQueued; }))
      return DeadlineExceeded("the client has taken nothing for five minutes");
    if (cancelled_) return Cancelled("the client has gone");
    queue_.push_back(std::move(message));
    Pump();
    return {};
  }
  // The stream ends after what is queued, or at once with an error.
  void Close(Status status) {
    std::lock_guard lock(mutex_);
    if (done_) return;
    finished_ = std::move(status);
    if (!finished_->ok()) queue_.clear();
    Pump();
  }
  // False once the client has gone.
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
    std::shared_ptr<PushedStream> last;  // let go of after the lock
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
      this->StartWrite(&current_);
    } else if (finished_ && !ended_) {
      ended_ = true;
      this->Finish(ToGrpc(*finished_));
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> queue_;
  Message current_;  // the one being written
  std::optional<Status> finished_;
  bool cancelled_ = false;
  bool writing_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::shared_ptr<PushedStream> self_;
};

}  // namespace davit::cri
