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

DAVIT_REFUSE_UNARY(CheckpointContainer, "checkpointing containers")
DAVIT_REFUSE_UNARY(CheckpointPod, "checkpointing pods")
DAVIT_REFUSE_UNARY(RestorePod, "restoring pods")

}  // namespace davit::cri
