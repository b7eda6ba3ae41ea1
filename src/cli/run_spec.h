// From the flags of `davit run` to CRI's messages. Pure but for -e NAME, which reads the environment.
#pragma once

#include <string>
#include <string_view>

#include "cli/commands.h"

namespace runtime::v1 {
class ContainerConfig;
class PodSandboxConfig;
}  // namespace runtime::v1

namespace davit::cli {

// Annotation of a pod that `davit run` made: its log directory, which goes with the pod.
inline constexpr char kLogDirectoryAnnotation[] = "davit.run/log-directory";
// True for a directory directly below /var/log/davit: whoever writes a pod's annotations must not choose
// what root removes.
bool IsRunLogDirectory(std::string_view path);

// `name` and `uid` are the pod's. kInvalidArgument naming the flag.
Result<cri::PodSandboxConfig> RunPodConfig(const RunOptions& options, const std::string& name, const std::string& uid);
Result<cri::ContainerConfig> RunContainerConfig(const RunOptions& options, const std::string& name);

}  // namespace davit::cli
