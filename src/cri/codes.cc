#include "cri/codes.h"

#include <algorithm>

namespace davit::cri {
namespace {

constexpr size_t kMaxMessage = 8 << 10;

template <StatusCode Ours, ::grpc::StatusCode Theirs>
constexpr bool kSame = static_cast<int>(Ours) == static_cast<int>(Theirs);

static_assert(kSame<StatusCode::kOk, ::grpc::StatusCode::OK>);
static_assert(kSame<StatusCode::kCancelled, ::grpc::StatusCode::CANCELLED>);
static_assert(kSame<StatusCode::kUnknown, ::grpc::StatusCode::UNKNOWN>);
static_assert(kSame<StatusCode::kInvalidArgument, ::grpc::StatusCode::INVALID_ARGUMENT>);
static_assert(kSame<StatusCode::kDeadlineExceeded, ::grpc::StatusCode::DEADLINE_EXCEEDED>);
static_assert(kSame<StatusCode::kNotFound, ::grpc::StatusCode::NOT_FOUND>);
static_assert(kSame<StatusCode::kAlreadyExists, ::grpc::StatusCode::ALREADY_EXISTS>);
static_assert(kSame<StatusCode::kPermissionDenied, ::grpc::StatusCode::PERMISSION_DENIED>);
static_assert(kSame<StatusCode::kResourceExhausted, ::grpc::StatusCode::RESOURCE_EXHAUSTED>);
static_assert(kSame<StatusCode::kFailedPrecondition, ::grpc::StatusCode::FAILED_PRECONDITION>);
static_assert(kSame<StatusCode::kAborted, ::grpc::StatusCode::ABORTED>);
static_assert(kSame<StatusCode::kOutOfRange, ::grpc::StatusCode::OUT_OF_RANGE>);
static_assert(kSame<StatusCode::kUnimplemented, ::grpc::StatusCode::UNIMPLEMENTED>);
static_assert(kSame<StatusCode::kInternal, ::grpc::StatusCode::INTERNAL>);
static_assert(kSame<StatusCode::kUnavailable, ::grpc::StatusCode::UNAVAILABLE>);
static_assert(kSame<StatusCode::kDataLoss, ::grpc::StatusCode::DATA_LOSS>);
static_assert(kSame<StatusCode::kUnauthenticated, ::grpc::StatusCode::UNAUTHENTICATED>);

}  // namespace

::grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return ::grpc::Status::OK;
  std::string message = status.message().substr(0, kMaxMessage);
  // Runtimes and registries may answer with anything; clients decode the message as UTF-8.
  std::replace_if(
      message.begin(), message.end(),
      [](unsigned char c) { return c >= 0x80 || c == 0x7f || (c < 0x20 && c != '\n' && c != '\t'); }, '?');
  return {static_cast<::grpc::StatusCode>(status.code()), message};
}

}  // namespace davit::cri
