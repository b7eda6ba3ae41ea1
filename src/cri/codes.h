// Davit's error codes are gRPC's: one cast, checked at compile time in codes.cc.
#pragma once

#include <grpcpp/support/status.h>

#include "base/status.h"

namespace davit::cri {

// The message is made UTF-8 and cut at 8 KiB: gRPC carries it in a header.
::grpc::Status ToGrpc(const Status& status);

}  // namespace davit::cri
