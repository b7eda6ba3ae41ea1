// NamespaceFile: the file that a node keeps for the pods of one Kubernetes namespace (image.signature_policy_dir,
// image.auth_dir).
#pragma once

#include <string>

#include "base/result.h"

namespace davit::engine {

// NAMESPACE.json in the directory; empty when the file is not there, the directory is not configured ("") or the pod
// has no namespace. kInvalidArgument for what is no namespace (RFC 1123 label), and so might leave the directory; an
// errno's code when it cannot be told whether the file is there.
Result<std::string> NamespaceFile(const std::string& directory, const std::string& pod_namespace);

}  // namespace davit::engine
