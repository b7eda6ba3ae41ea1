// GetContainerEvents: one subscriber of the engine's event log.
#pragma once

#include <grpcpp/grpcpp.h>

#include "engine/events.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cri {

// Owns itself until gRPC is done with it. Headers are sent at once: a client that has them has missed
// nothing since. Refused subscriptions end with the log's error.
::grpc::ServerWriteReactor<::runtime::v1::ContainerEventResponse>* StreamEvents(engine::EventLog& log);

}  // namespace davit::cri
