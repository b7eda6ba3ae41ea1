// What RuntimeDefault takes away from the profile that the distribution installs. That one is made for containers
// whose root is an ordinary user (Podman): it lets everybody make namespaces and mounts, and open every family of
// sockets. Calls of the kernel that hardly any container needs, and that its faults are reached through, are
// refused here as other engines for clusters refuse them, unless the container has the capability that they are for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::container {

// `rendered` is OCI's linux.seccomp (RenderSeccompProfile); `capabilities` the container's bounding set. A profile
// that allows by default is somebody's list of exceptions and is given back as it is.
Result<std::string> TightenSeccompProfile(const std::string& rendered, const std::vector<std::string>& capabilities,
                                          std::string_view architecture);

}  // namespace davit::container
