// The two shapes of answers: at once, or from an engine callback.
#pragma once

#include <grpcpp/grpcpp.h>

#include "cri/codes.h"
#include "engine/engine.h"

namespace davit::cri {

// Finishes the call now.
inline ::grpc::ServerUnaryReactor* Answer(::grpc::CallbackServerContext* context, const Status& status) {
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// A callback for an engine verb: `fill` writes the value into the response, then the call finishes. The
// response lives until then, whatever the client does.
template <class T, class Fill>
engine::Done<T> FinishWith(::grpc::ServerUnaryReactor* reactor, Fill fill) {
  return [reactor, fill](const Result<T>& result) {
    if (result.ok()) fill(*result);
    reactor->Finish(ToGrpc(result.status()));
  };
}

inline engine::Done<engine::Nothing> FinishEmpty(::grpc::ServerUnaryReactor* reactor) {
  return FinishWith<engine::Nothing>(reactor, [](engine::Nothing) {});
}

// A stream that ends at once with an error.
template <class Response>
class RefusedStream final : public ::grpc::ServerWriteReactor<Response> {
 public:
  explicit RefusedStream(const Status& status) { this->Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace davit::cri
