// Lists of pods and containers: in one answer (List*), and in messages that a client of any size limit can take
// (Stream*, KEP-5825). And the stream of events.

#include "cri/check_requests.h"
#include "cri/convert.h"
#include "cri/event_stream.h"
#include "cri/list_stream.h"
#include "cri/reactors.h"
#include "cri/runtime_service.h"

namespace davit::cri {
namespace {

// What a list names of a snapshot's pods or containers, in their order. kInvalidArgument naming the filter's field.
template <class Filter, class Records>
Result<std::vector<typename Records::mapped_type>> Wanted(const engine::Engine& engine, const Filter& filter,
                                                          const Records& records) {
  RETURN_IF_ERROR(CheckFilter(filter));
  std::vector<typename Records::mapped_type> found;
  for (const auto& [id, record] : records) {
    if (Shown(engine, *record) && Matches(filter, *record)) found.push_back(record);
  }
  return found;
}

}  // namespace

RuntimeService::Reactor* RuntimeService::ListPodSandbox(Context* context, const v1::ListPodSandboxRequest* request,
                                                        v1::ListPodSandboxResponse* response) {
  const engine::SnapshotPtr view = engine_.View();
  Result<std::vector<engine::PodPtr>> pods = Wanted(engine_, request->filter(), view->pods());
  if (!pods.ok()) return Answer(context, pods.status());
  for (const engine::PodPtr& record : *pods) *response->add_items() = ToPodSandbox(*record);
  return Answer(context, {});
}

::grpc::ServerWriteReactor<v1::StreamPodSandboxesResponse>* RuntimeService::StreamPodSandboxes(
    Context*, const v1::StreamPodSandboxesRequest* request) {
  using Stream = ListStream<v1::StreamPodSandboxesResponse, engine::PodPtr>;
  const engine::SnapshotPtr view = engine_.View();
  Result<std::vector<engine::PodPtr>> pods = Wanted(engine_, request->filter(), view->pods());
  if (!pods.ok()) return new RefusedStream<v1::StreamPodSandboxesResponse>(pods.status());
  return Stream::Start(std::move(*pods), [](const engine::PodPtr& record, v1::StreamPodSandboxesResponse* message) {
    *message->add_pod_sandboxes() = ToPodSandbox(*record);
  });
}

RuntimeService::Reactor* RuntimeService::ListContainers(Context* context, const v1::ListContainersRequest* request,
                                                        v1::ListContainersResponse* response) {
  const engine::SnapshotPtr view = engine_.View();
  Result<std::vector<engine::ContainerPtr>> containers = Wanted(engine_, request->filter(), view->containers());
  if (!containers.ok()) return Answer(context, containers.status());
  for (const engine::ContainerPtr& record : *containers) *response->add_containers() = ToContainer(*record);
  return Answer(context, {});
}

::grpc::ServerWriteReactor<v1::StreamContainersResponse>* RuntimeService::StreamContainers(
    Context*, const v1::StreamContainersRequest* request) {
  using Stream = ListStream<v1::StreamContainersResponse, engine::ContainerPtr>;
  const engine::SnapshotPtr view = engine_.View();
  Result<std::vector<engine::ContainerPtr>> containers = Wanted(engine_, request->filter(), view->containers());
  if (!containers.ok()) return new RefusedStream<v1::StreamContainersResponse>(containers.status());
  return Stream::Start(std::move(*containers),
                       [](const engine::ContainerPtr& record, v1::StreamContainersResponse* message) {
                         *message->add_containers() = ToContainer(*record);
                       });
}

::grpc::ServerWriteReactor<v1::ContainerEventResponse>* RuntimeService::GetContainerEvents(
    Context*, const v1::GetEventsRequest*) {
  return StreamEvents(engine_.Events());
}

}  // namespace davit::cri
