#include "config/config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::config {
namespace {

// The *.toml files of the directory in lexical order. Hidden files are editors' leftovers.
Result<std::vector<std::string>> Dropins(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  if (error == std::errc::no_such_file_or_directory) return files;
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::filesystem::path& path = entry->path();
    if (path.extension() != ".toml" || path.filename().string().front() == '.') continue;
    if (files.size() == kMaxDropins) {
      return ResourceExhausted(fmt::format("{}: more than {} drop-ins", directory, kMaxDropins));
    }
    files.push_back(path.string());
  }
  if (error) return ErrnoError(error.value(), fmt::format("read directory {}", directory));
  std::sort(files.begin(), files.end());
  return files;
}

bool IsProgram(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

// Where this program lies: a build tree has davit-oci beside davitd.
std::string OwnDirectory() {
  char path[PATH_MAX] = {};
  ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  std::string self(path, length > 0 && static_cast<size_t>(length) < sizeof path ? static_cast<size_t>(length) : 0);
  return self.substr(0, self.rfind('/'));
}

// Also where root's PATH has it although a service manager's has not. "" when it is nowhere.
std::string FindRuntime(const std::string& handler) {
  const bool own = handler == kNativeHandler;
  const std::string name = own ? "davit-oci" : handler;
  const char* path = std::getenv("PATH");
  std::vector<std::string> directories = Split(path == nullptr ? "" : path, ':');
  if (own) directories.insert(directories.begin(), OwnDirectory());
  for (const char* more : {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}) {
    directories.emplace_back(more);
  }
  for (const std::string& directory : directories) {
    std::string candidate = fmt::format("{}/{}", directory, name);
    if (candidate.front() == '/' && IsProgram(candidate)) return candidate;
  }
  return "";
}

Status CheckRegistry(const std::string& host, const RegistryConfig& registry) {
  std::string key = fmt::format("image.registries.\"{}\"", host);
  if (!registry.fallback && registry.mirrors.empty()) {
    return InvalidArgument(
        fmt::format("{}: fallback is false and there are no mirrors, so nothing is left to pull from", key));
  }
  if (registry.username.empty() != registry.password.empty()) {
    return InvalidArgument(fmt::format("{}: username and password go together", key));
  }
  if (!registry.username.empty() && !registry.auth_file.empty()) {
    return InvalidArgument(fmt::format("{}: both a password and an auth_file", key));
  }
  return {};
}

}  // namespace

std::string DropinDirectory(const std::string& path) { return path + ".d"; }

Status Resolve(Config& config) {
  RuntimeConfig& runtime = config.runtime;
  if (runtime.handlers.count(runtime.default_handler) == 0) {
    std::vector<std::string> names;
    for (const auto& entry : runtime.handlers) names.push_back(entry.first);
    return InvalidArgument(fmt::format("runtime.default: \"{}\" is none of the handlers {}",
                                       Printable(runtime.default_handler), Join(names, ", ")));
  }
  for (auto& [name, handler] : runtime.handlers) {
    if (handler.path.empty()) handler.path = FindRuntime(name);
    if (handler.root.empty()) handler.root = fmt::format("{}/runtime/{}", config.state, name);
  }
  for (const auto& [host, registry] : config.image.registries) RETURN_IF_ERROR(CheckRegistry(host, registry));
  return {};
}

Result<Config> Load(const std::string& path, const std::string& dropin_dir, MainFile main_file) {
  Config config;
  std::vector<std::string> files;
  if (!dropin_dir.empty()) {
    ASSIGN_OR_RETURN(files, Dropins(dropin_dir));
  }
  Result<std::string> main_text = sys::ReadFile(path, kMaxFileBytes);
  if (main_text.ok()) {
    RETURN_IF_ERROR(Apply(config, *main_text, path));
  } else if (main_text.code() != StatusCode::kNotFound || main_file == MainFile::kRequired) {
    return main_text.status();
  }
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(file, kMaxFileBytes));
    RETURN_IF_ERROR(Apply(config, text, file));
  }
  RETURN_IF_ERROR(Resolve(config));
  return config;
}

}  // namespace davit::config
