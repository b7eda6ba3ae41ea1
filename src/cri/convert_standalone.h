// Between davit.control.v1.StandaloneService's messages and the engine's types: pure functions.
#pragma once

#include "base/result.h"
#include "cri/convert.h"
#include "davit/control/v1/standalone.pb.h"
#include "engine/engine.h"

namespace davit::cri {

// kInvalidArgument naming the field.
Result<pod::PodSpec> ToStandalonePodSpec(const v1::PodSandboxConfig& config, const control::v1::PodOptions& options,
                                         const std::string& runtime_handler);
Result<engine::ContainerDefinition> ToDefinition(const control::v1::CreateContainerRequest& request);
container::RestartPolicy ToRestartPolicy(const control::v1::RestartPolicy& in);

control::v1::Pod ToPod(const pod::PodRecord& record);
// `full`: with what lists leave out.
control::v1::Container ToStandalone(const container::ContainerRecord& record, bool full);
control::v1::Event ToEvent(const engine::Activity& activity);

}  // namespace davit::cri
