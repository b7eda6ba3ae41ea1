#include "cri/event_stream.h"

#include <memory>
#include <mutex>

#include "cri/codes.h"
#include "cri/convert.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

// Shared by gRPC, until OnDone, and by the log's wake function for the moment that it runs. One message at a
// time: what waits is in the subscription's queue.
class EventStream final : public ::grpc::ServerWriteReactor<v1::ContainerEventResponse> {
 public:
  // Must be called once, before gRPC gets the reactor.
  void Begin(std::shared_ptr<EventStream> self, std::shared_ptr<engine::EventSubscription> subscription) {
    std::lock_guard lock(mutex_);
    self_ = std::move(self);
    subscription_ = std::move(subscription);
    StartSendInitialMetadata();
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
    std::shared_ptr<EventStream> last;  // freed after the lock
    std::lock_guard lock(mutex_);
    subscription_.reset();
    last = std::move(self_);
  }

 private:
  void Pump() {
    if (writing_ || ended_ || !subscription_) return;
    Result<engine::EventPtr> next = cancelled_ ? Cancelled("the client has gone") : subscription_->Next();
    if (!next.ok()) {
      ended_ = true;
      // Its place is free before the client hears of the end: it is told to subscribe again.
      subscription_.reset();
      Finish(ToGrpc(next.status()));
      return;
    }
    if (!*next) return;
    message_ = ToContainerEvent(**next);
    writing_ = true;
    StartWrite(&message_);
  }

  std::mutex mutex_;
  std::shared_ptr<EventStream> self_;
  std::shared_ptr<engine::EventSubscription> subscription_;
  v1::ContainerEventResponse message_;  // the one being written
  bool writing_ = false;
  bool cancelled_ = false;
  bool ended_ = false;
};

}  // namespace

::grpc::ServerWriteReactor<v1::ContainerEventResponse>* StreamEvents(engine::EventLog& log) {
  auto stream = std::make_shared<EventStream>();
  std::weak_ptr<EventStream> weak = stream;
  Result<std::shared_ptr<engine::EventSubscription>> subscription = log.Subscribe([weak] {
    if (std::shared_ptr<EventStream> alive = weak.lock()) alive->Wake();
  });
  if (!subscription.ok()) return new RefusedStream<v1::ContainerEventResponse>(subscription.status());
  EventStream* reactor = stream.get();
  reactor->Begin(std::move(stream), std::move(*subscription));
  return reactor;
}

}  // namespace davit::cri
