// The Stream* lists (KEP-5825): what ListPodSandbox and ListContainers answer, with the same filters, in
// messages that a client of any size limit can take. And the stream of events.

#include "cri/check_requests.h"
#include "cri/convert.h"
#include "cri/event_stream.h"
#include "cri/list_stream.h"
#include "cri/reactors.h"
#include "cri/runtime_service.h"

namespace davit::cri {

::grpc::ServerWriteReactor<v1::StreamPodSandboxesResponse>* RuntimeService::StreamPodSandboxes(
    Context*, const v1::StreamPodSandboxesRequest* request) {
  using Stream = ListStream<v1::StreamPodSandboxesResponse, engine::PodPtr>;
  if (::davit::Status good = CheckFilter(request->filter()); !good.ok()) {
    return new RefusedStream<v1::StreamPodSandboxesResponse>(good);
  }
  std::vector<engine::PodPtr> items;
  engine::SnapshotPtr view = engine_.View();
  for (const auto& [id, record] : view->pods) {
    if (engine::Listed(*record) && Matches(request->filter(), *record)) items.push_back(record);
  }
  return Stream::Start(std::move(items), [](const engine::PodPtr& record, v1::StreamPodSandboxesResponse* message) {
    *message->add_pod_sandboxes() = ToPodSandbox(*record);
  });
}

::grpc::ServerWriteReactor<v1::StreamContainersResponse>* RuntimeService::StreamContainers(
    Context*, const v1::StreamContainersRequest* request) {
  using Stream = ListStream<v1::StreamContainersResponse, engine::ContainerPtr>;
  if (::davit::Status good = CheckFilter(request->filter()); !good.ok()) {
    return new RefusedStream<v1::StreamContainersResponse>(good);
  }
  std::vector<engine::ContainerPtr> items;
  engine::SnapshotPtr view = engine_.View();
  for (const auto& [id, record] : view->containers) {
    if (engine::Listed(*record) && Matches(request->filter(), *record)) items.push_back(record);
  }
  return Stream::Start(std::move(items), [](const engine::ContainerPtr& record, v1::StreamContainersResponse* message) {
    *message->add_containers() = ToContainer(*record);
  });
}

::grpc::ServerWriteReactor<v1::ContainerEventResponse>* RuntimeService::GetContainerEvents(
    Context*, const v1::GetEventsRequest*) {
  return StreamEvents(engine_.Events());
}

}  // namespace davit::cri
