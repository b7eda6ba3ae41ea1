// LatestStream: one client that watches something long. Only the newest news waits: a slow client skips, it never slows
// the work.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "cri/codes.h"

namespace davit::cri {

// Shared by gRPC, until OnDone, and by the engine's callbacks, until the work has ended. Thread-safe.
template <class Message>
class LatestStream : public ::grpc::ServerWriteReactor<Message> {
 public:
  // Must be held by gRPC's side as long as it may call back.
  void Keep(std::shared_ptr<LatestStream> self) { self_ = std::move(self); }

  // The client is there, as far as gRPC has told.
  bool Wanted() {
    std::lock_guard lock(mutex_);
    return !cancelled_;
  }
  void OnCancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) waiting_.reset();  // the client has gone
    Pump();
  }

  void OnDone() override {
    std::shared_ptr<LatestStream> last;
    {
      std::lock_guard lock(mutex_);
      done_ = true;
      last = std::move(self_);
    }
  }

 protected:
  // Some time has gone by since this was true: for news that come thousands of times a second.
  bool Ready() {
    const auto now = std::chrono::steady_clock::now();
    std::lock_guard lock(mutex_);
    if (now - shown_ < std::chrono::milliseconds(100)) return false;
    shown_ = now;
    return true;
  }

  void Show(Message now) {
    std::lock_guard lock(mutex_);
    if (done_ || finished_) return;
    waiting_ = std::move(now);
    Pump();
  }

  // `fill` makes the last message, after success.
  template <class Fill>
  void EndWith(const Status& status, Fill fill) {
    std::lock_guard lock(mutex_);
    if (done_) return;
    finished_ = status;
    if (status.ok()) {
      waiting_ = waiting_.value_or(Message());
      fill(*waiting_);
    }  // else the news that waits is the last there is
    Pump();
  }

 private:
  void Pump() {
    if (writing_) return;
    if (waiting_) {
      current_ = std::move(*waiting_);
      waiting_.reset();
      writing_ = true;
      this->StartWrite(&current_);
    } else if (finished_ && !ended_) {
      ended_ = true;
      this->Finish(ToGrpc(*finished_));
    }
  }

  std::mutex mutex_;
  bool cancelled_ = false;
  std::optional<Message> waiting_;
  std::optional<Status> finished_;
  Message current_;  // the one being written
  bool writing_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::chrono::steady_clock::time_point shown_;
  std::shared_ptr<LatestStream> self_;
};

}  // namespace davit::cri
