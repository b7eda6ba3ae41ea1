#include "cri/event_stream.h"

#include <memory>

#include "cri/convert.h"
#include "cri/pulled_stream.h"
#include "cri/reactors.h"

namespace davit::cri {

::grpc::ServerWriteReactor<v1::ContainerEventResponse>* StreamEvents(engine::EventLog& log) {
  using Stream = PulledStream<v1::ContainerEventResponse>;
  auto stream = std::make_shared<Stream>();
  std::weak_ptr<Stream> weak = stream;
  Result<std::shared_ptr<engine::EventSubscription>> subscription = log.Subscribe([weak] {
    if (std::shared_ptr<Stream> alive = weak.lock()) alive->Wake();
  });
  if (!subscription.ok()) return new RefusedStream<v1::ContainerEventResponse>(subscription.status());
  Stream* reactor = stream.get();
  reactor->Begin(std::move(stream), [subscription = *subscription]() -> Result<Stream::Step> {
    ASSIGN_OR_RETURN(engine::EventPtr event, subscription->Next());
    if (!event) return Stream::Step{};
    return Stream::Step{ToContainerEvent(*event), false};
  });
  return reactor;
}

}  // namespace davit::cri
