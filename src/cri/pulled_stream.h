// PulledStream: one client of a log. What waits is in the log; one message at a time is on its way.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "cri/codes.h"

namespace davit::cri {

// Shared by gRPC, until OnDone, and by the log's wake function for the moment that it runs. Headers are sent at once: a
// client that has them has missed nothing since. Thread-safe.
template <class Message>
class PulledStream final : public ::grpc::ServerWriteReactor<Message> {
 public:
  struct Step {
    std::optional<Message> message;  // none: none now, Wake() is called once there is one
    bool last = false;               // the stream ends well, after the message if there is one
  };
  // An error ends the stream. What the function holds is freed before the client hears of the end: its place is free
  // when it comes again.
  using Next = std::function<Result<Step>()>;

  // Must be called once, before gRPC gets the reactor.
  void Begin(std::shared_ptr<PulledStream> self, Next next) {
    std::lock_guard lock(mutex_);
    self_ = std::move(self);
    next_ = std::move(next);
    this->StartSendInitialMetadata();
    Pump();
  }

  void Wake() {
    std::lock_guard lock(mutex_);
    Pump();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
    Pump();
  }

  // The only news of a client that has gone while nothing happens on the node.
  void OnCancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    Pump();
  }

  void OnDone() override {
    std::shared_ptr<PulledStream> last;  // freed after the lock
    std::lock_guard lock(mutex_);
    next_ = nullptr;
    last = std::move(self_);
  }

 private:
  void Pump() {
    if (writing_ || ended_ || !next_) return;
    Result<Step> step = Cancelled("the client has gone");
    if (last_) {
      step = Step{std::nullopt, true};
    } else if (!cancelled_) {
      step = next_();
    }
    if (!step.ok() || (step->last && !step->message)) {
      ended_ = true;
      next_ = nullptr;
      this->Finish(ToGrpc(step.status()));
      return;
    }
    if (!step->message) return;
    last_ = step->last;
    message_ = std::move(*step->message);
    writing_ = true;
    this->StartWrite(&message_);
  }

  std::mutex mutex_;
  std::shared_ptr<PulledStream> self_;
  Next next_;
  Message message_;  // the one being written
  bool writing_ = false;
  bool cancelled_ = false;
  bool ended_ = false;
  bool last_ = false;  // what is written now is the last
};

}  // namespace davit::cri
