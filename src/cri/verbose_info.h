// The "info" of verbose status calls: JSON for people and for crictl inspect.
#pragma once

#include <string>

#include "config/config.h"
#include "container/record.h"
#include "pod/record.h"

namespace davit::cri {

std::string ConfigInfo(const config::Config& config);
// `summary` is for people.
std::string PreloadInfo(const std::string& summary);
std::string PodInfo(const pod::PodRecord& record);
// `runtime_spec` is the bundle's config.json, or "null".
std::string ContainerInfo(const container::ContainerRecord& record, const std::string& runtime_spec);

}  // namespace davit::cri
