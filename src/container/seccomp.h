// Seccomp profiles: from the files that administrators and distributions write (Docker's and containers-common's
// format, of which OCI's is a subset) to the runtime-spec's linux.seccomp for one container.
//
// The source format adds conditions to rules ("includes", "excludes": capabilities, architectures, kernel); they
// are decided here, so that the runtime gets plain rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "container/spec.h"

namespace davit::container {

inline constexpr size_t kMaxSeccompProfile = 1 << 20;

// The linux.seccomp object as JSON. `capabilities` is the container's bounding set, `architecture` in Go's names
// ("amd64"). kInvalidArgument when the text is no profile; unknown members are left out.
Result<std::string> RenderSeccompProfile(std::string_view text, const std::vector<std::string>& capabilities,
                                         std::string_view architecture);

// The same from a file: regular, absolute, at most kMaxSeccompProfile. The error names the path.
Result<std::string> LoadSeccompProfile(const std::string& path, const std::vector<std::string>& capabilities);

// The deprecated field seccomp_profile_path: "", "unconfined", "runtime/default", "docker/default" or
// "localhost/PATH" with an absolute path. kInvalidArgument otherwise. nullopt for "".
Result<std::optional<SecurityProfile>> ParseSeccompField(const std::string& text);

}  // namespace davit::container
