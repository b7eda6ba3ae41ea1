#include "engine/namespace_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"

namespace davit::engine {

Result<std::string> NamespaceFile(const std::string& directory, const std::string& pod_namespace) {
  if (directory.empty() || pod_namespace.empty()) return std::string();
  if (pod_namespace.size() > 63 ||
      pod_namespace.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos) {
    return InvalidArgument(fmt::format("\"{}\" is no namespace", Printable(pod_namespace)));
  }
  std::string path = directory + "/" + pod_namespace + ".json";
  if (::access(path.c_str(), F_OK) == 0) return path;
  if (errno == ENOENT || errno == ENOTDIR) return std::string();
  return ErrnoError(errno, path);
}

}  // namespace davit::engine
