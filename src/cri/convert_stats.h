// The engine's numbers as CRI's messages: pure functions.
#pragma once

#include "engine/stats.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cri {

namespace v1 = ::runtime::v1;

// `mount_point` names the filesystem of the writable layer.
v1::ContainerStats ToContainerStats(const engine::ContainerStats& stats, const std::string& mount_point);
v1::PodSandboxStats ToPodSandboxStats(const engine::PodStats& stats, const std::string& mount_point);

// A filter with an empty field matches everything; ids match by prefix.
bool Matches(const v1::ContainerStatsFilter& filter, const container::ContainerRecord& record);
bool Matches(const v1::PodSandboxStatsFilter& filter, const pod::PodRecord& record);

}  // namespace davit::cri
