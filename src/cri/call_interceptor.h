// The interceptor that feeds CallMetrics.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include "cri/call_metrics.h"

namespace davit::cri {

class CallInterceptorFactory final : public ::grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallInterceptorFactory(CallMetrics& metrics) : metrics_(metrics) {}  // `metrics` outlives the server
  ::grpc::experimental::Interceptor* CreateServerInterceptor(::grpc::experimental::ServerRpcInfo* info) override;

 private:
  CallMetrics& metrics_;
};

}  // namespace davit::cri
