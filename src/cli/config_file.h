// Pod and container configurations in the JSON that crictl takes: CRI's messages with field names in
// snake_case or camelCase, enum values by name or number. `envs[].value` is bytes in the wire schema and
// plain text in these files.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace runtime::v1 {
class ContainerConfig;
class PodSandboxConfig;
}  // namespace runtime::v1

namespace davit::cli {

inline constexpr size_t kMaxConfigFileBytes = 4u << 20;

// `file` is for errors only. kInvalidArgument naming the file, and the line or field.
Result<runtime::v1::PodSandboxConfig> ParsePodConfig(std::string_view json, const std::string& file);
Result<runtime::v1::ContainerConfig> ParseContainerConfig(std::string_view json, const std::string& file);

// The same from a file; "-" is standard input.
Result<runtime::v1::PodSandboxConfig> LoadPodConfig(const std::string& path);
Result<runtime::v1::ContainerConfig> LoadContainerConfig(const std::string& path);

}  // namespace davit::cli
