// The calls that a later version brings: refused in words, so that a client knows it is not a fault.

#include "cri/reactors.h"
#include "cri/runtime_service.h"

namespace davit::cri {
namespace {

::davit::Status NotYet(std::string_view what) { return Unimplemented(std::string(what) + " is not built yet"); }

}  // namespace

#define DAVIT_REFUSE_UNARY(call, what)                                                                             \
  RuntimeService::Reactor* RuntimeService::call(Context* context, const v1::call##Request*, v1::call##Response*) { \
    return Answer(context, NotYet(what));                                                                          \
  }
#define DAVIT_REFUSE_STREAM(call, request, response, what)                                       \
  ::grpc::ServerWriteReactor<v1::response>* RuntimeService::call(Context*, const v1::request*) { \
    return new RefusedStream<v1::response>(NotYet(what));                                        \
  }

DAVIT_REFUSE_UNARY(UpdateContainerResources, "changing a container's resources")
DAVIT_REFUSE_UNARY(UpdatePodSandboxResources, "changing a pod's resources")
DAVIT_REFUSE_UNARY(CheckpointContainer, "checkpointing containers")
DAVIT_REFUSE_UNARY(CheckpointPod, "checkpointing pods")
DAVIT_REFUSE_UNARY(RestorePod, "restoring pods")
DAVIT_REFUSE_STREAM(GetContainerEvents, GetEventsRequest, ContainerEventResponse, "the stream of container events")

}  // namespace davit::cri
