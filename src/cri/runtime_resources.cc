// Limits that change while a container or pod runs (KEP-1287, KEP-2837).

#include "cri/convert.h"
#include "cri/reactors.h"
#include "cri/runtime_service.h"

namespace davit::cri {

// Annotations of the request are for runtimes that read such; nothing of them reaches ours.
RuntimeService::Reactor* RuntimeService::UpdateContainerResources(Context* context,
                                                                  const v1::UpdateContainerResourcesRequest* request,
                                                                  v1::UpdateContainerResourcesResponse*) {
  if (request->has_windows()) return Answer(context, InvalidArgument("windows: this node runs Linux"));
  if (!request->has_linux()) return Answer(context, InvalidArgument("linux is missing"));
  Reactor* reactor = context->DefaultReactor();
  engine_.UpdateContainer(request->container_id(), ToResources(request->linux()), FinishEmpty(reactor));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::UpdatePodSandboxResources(Context* context,
                                                                   const v1::UpdatePodSandboxResourcesRequest* request,
                                                                   v1::UpdatePodSandboxResourcesResponse*) {
  engine::PodResourcesChange change;
  if (request->has_resources()) change.resources = ToResources(request->resources());
  if (request->has_overhead()) change.overhead = ToResources(request->overhead());
  Reactor* reactor = context->DefaultReactor();
  engine_.UpdatePod(request->pod_sandbox_id(), std::move(change), FinishEmpty(reactor));
  return reactor;
}

}  // namespace davit::cri
