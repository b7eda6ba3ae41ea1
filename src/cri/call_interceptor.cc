#include "cri/call_interceptor.h"

#include <chrono>

namespace davit::cri {
namespace {

using ::grpc::experimental::InterceptionHookPoints;

class CallInterceptor final : public ::grpc::experimental::Interceptor {
 public:
  explicit CallInterceptor(CallMetrics::Method* method) : method_(method) {
    if (method_ != nullptr) method_->started.Add();
  }
  // gRPC deletes it at the end of the call, also of one whose client went away before there was a status.
  ~CallInterceptor() override { End(::grpc::StatusCode::CANCELLED); }

  void Intercept(::grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      // gRPC's own answer to a message that is no protobuf (1.51: UNIMPLEMENTED without a word) would tell clients that
      // the call does not exist. Each UNIMPLEMENTED of ours has its words. Of a service that is not there gRPC says the
      // same, and there it is true.
      ::grpc::Status status = methods->GetSendStatus();
      if (method_ != nullptr && status.error_code() == ::grpc::StatusCode::UNIMPLEMENTED &&
          status.error_message().empty()) {
        status =
            ::grpc::Status(::grpc::StatusCode::INTERNAL, "the request is no message of this call: malformed protobuf");
        methods->ModifySendStatus(status);
      }
      End(status.error_code());
    }
    methods->Proceed();
  }

 private:
  void End(::grpc::StatusCode code) {
    if (method_ == nullptr) return;
    auto index = static_cast<size_t>(code);
    constexpr size_t kUnknown = static_cast<size_t>(::grpc::StatusCode::UNKNOWN);
    method_->by_code[index < method_->by_code.size() ? index : kUnknown].Add();
    method_->seconds.Observe(std::chrono::steady_clock::now() - began_);
    method_ = nullptr;
  }

  CallMetrics::Method* method_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace

::grpc::experimental::Interceptor* CallInterceptorFactory::CreateServerInterceptor(
    ::grpc::experimental::ServerRpcInfo* info) {
  return new CallInterceptor(metrics_.Find(info->method()));
}

}  // namespace davit::cri
