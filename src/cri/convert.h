// Between CRI's messages and the engine's types: pure functions, nothing else.
#pragma once

#include "base/result.h"
#include "container/spec.h"
#include "engine/engine.h"
#include "image/images.h"
#include "pod/spec.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cri {

namespace v1 = ::runtime::v1;

// kInvalidArgument naming the field.
Result<pod::PodSpec> ToPodSpec(const v1::PodSandboxConfig& config, const std::string& runtime_handler);
Result<container::ContainerSpec> ToContainerSpec(const v1::ContainerConfig& config);
// The reverse of ContainerConfig.stop_signal; SIGNAL_RUNTIME_DEFAULT for a number that CRI does not know.
v1::Signal ToCriSignal(int number);
sys::Resources ToResources(const v1::LinuxContainerResources& in);
image::Credentials ToCredentials(const v1::AuthConfig& auth);

v1::PodSandbox ToPodSandbox(const pod::PodRecord& record);
v1::PodSandboxStatus ToPodSandboxStatus(const pod::PodRecord& record);
v1::Container ToContainer(const container::ContainerRecord& record);
v1::ContainerStatus ToContainerStatus(const container::ContainerRecord& record);
v1::ContainerEventResponse ToContainerEvent(const engine::Event& event);
v1::Image ToImage(const image::ImageRecord& record);

// Whether `labels` has all that a filter's label_selector names.
bool HasLabels(const ::google::protobuf::Map<std::string, std::string>& wanted,
               const std::map<std::string, std::string>& labels);

// Whether CRI's lists show it: the kubelet's, and with `api.show_standalone` what people made.
bool Shown(const engine::Engine& engine, const pod::PodRecord& record);
bool Shown(const engine::Engine& engine, const container::ContainerRecord& record);

// A filter with an empty field matches everything; ids match by prefix.
bool Matches(const v1::PodSandboxFilter& filter, const pod::PodRecord& record);
bool Matches(const v1::ContainerFilter& filter, const container::ContainerRecord& record);

}  // namespace davit::cri
