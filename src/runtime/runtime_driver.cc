#include "runtime/runtime_driver.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <utility>

#include "base/strings.h"
#include "runtime/runtime_log.h"
#include "sys/cgroup.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::runtime {
namespace {

inline constexpr size_t kMaxOutputBytes = 1u << 20;

bool SaysUnknownContainer(std::string_view message) {
  return message.find("container does not exist") != std::string_view::npos ||
         message.find("no such container") != std::string_view::npos;
}

// runc: "... that is not stopped: running"; crun: "... is not in `created` or `stopped` state".
bool SaysStillRunning(std::string_view message) {
  return message.find("not stopped") != std::string_view::npos ||
         (message.find("is not in ") != std::string_view::npos && message.find("stopped") != std::string_view::npos);
}

Result<sys::CommandResult> Run(std::vector<std::string> argv, std::string_view input, Deadline deadline) {
  if (argv.front().empty()) return FailedPrecondition("no such program is installed");
  sys::SpawnOptions options;
  options.argv = std::move(argv);
  options.env = sys::MinimalEnvironment();
  Result<sys::CommandResult> result = sys::RunCommand(std::move(options), input, kMaxOutputBytes, deadline);
  // kNotFound is kept for containers.
  if (result.code() == StatusCode::kNotFound) return FailedPrecondition(result.status().message());
  return result;
}

}  // namespace

RuntimeDriver::RuntimeDriver(RuntimeHandler handler) : handler_(std::move(handler)) {}

std::vector<std::string> RuntimeDriver::BaseArgv(const std::string& log_file) const {
  std::vector<std::string> argv = {handler_.path};
  if (!handler_.root.empty()) argv.insert(argv.end(), {"--root", handler_.root});
  argv.insert(argv.end(), handler_.arguments.begin(), handler_.arguments.end());
  if (handler_.cgroup_driver == CgroupDriver::kSystemd) argv.emplace_back("--systemd-cgroup");
  if (!log_file.empty()) argv.insert(argv.end(), {"--log", log_file});
  // Also without a file: stderr is easier to read as one object a line.
  argv.insert(argv.end(), {"--log-format", "json"});
  return argv;
}

std::vector<std::string> RuntimeDriver::CreateArgv(const std::string& container_id, const std::string& bundle,
                                                   const std::string& pid_file, const std::string& console_socket,
                                                   const std::string& log_file) const {
  std::vector<std::string> argv = BaseArgv(log_file);
  argv.insert(argv.end(), {"create", "--bundle", bundle, "--pid-file", pid_file});
  if (!console_socket.empty()) argv.insert(argv.end(), {"--console-socket", console_socket});
  argv.push_back(container_id);
  return argv;
}

std::vector<std::string> RuntimeDriver::StartArgv(const std::string& container_id, const std::string& log_file) const {
  std::vector<std::string> argv = BaseArgv(log_file);
  argv.insert(argv.end(), {"start", container_id});
  return argv;
}

std::vector<std::string> RuntimeDriver::ExecArgv(const std::string& container_id, const std::string& process_json,
                                                 const std::string& pid_file, const std::string& console_socket,
                                                 const std::string& log_file) const {
  std::vector<std::string> argv = BaseArgv(log_file);
  argv.insert(argv.end(), {"exec", "--detach", "--process", process_json, "--pid-file", pid_file});
  if (!console_socket.empty()) argv.insert(argv.end(), {"--console-socket", console_socket});
  argv.push_back(container_id);
  return argv;
}

bool RuntimeDriver::Knows(const std::string& container_id) const {
  // Every runtime keeps the state of a container in a directory of its name below --root. Asking the
  // file system is exact where error messages differ, and costs no process.
  if (handler_.root.empty()) return true;
  return ::access(fmt::format("{}/{}", handler_.root, container_id).c_str(), F_OK) == 0 || errno != ENOENT;
}

Status RuntimeDriver::RunVerb(std::vector<std::string> arguments, const std::string& container_id,
                              std::string_view input, Deadline deadline) const {
  std::string intent = fmt::format("{} {} {}", handler_.name, arguments.front(), container_id);
  std::vector<std::string> argv = BaseArgv("");
  argv.insert(argv.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  Result<sys::CommandResult> result = Run(std::move(argv), input, deadline);
  if (!result.ok()) return result.status().Annotate(intent);
  if (result->exit.code == 0) return {};
  std::string message = LastRuntimeError(result->err);
  if (message.empty()) message = fmt::format("exit code {} without a message", result->exit.code);
  std::string text = fmt::format("{}: {}", intent, message);
  if (SaysUnknownContainer(message) || !Knows(container_id)) return NotFound(std::move(text));
  if (SaysStillRunning(message)) return FailedPrecondition(std::move(text));
  return Internal(std::move(text));
}

Status RuntimeDriver::Delete(const std::string& container_id, bool force, Deadline deadline) const {
  std::vector<std::string> arguments = {"delete"};
  if (force) arguments.emplace_back("--force");
  arguments.push_back(container_id);
  Status status = RunVerb(std::move(arguments), container_id, "", deadline);
  return status.code() == StatusCode::kNotFound ? Status() : status;
}

Status RuntimeDriver::Update(const std::string& container_id, const std::string& resources, Deadline deadline) const {
  return RunVerb({"update", "--resources", "-", container_id}, container_id, resources, deadline);
}

Status RuntimeDriver::Kill(const std::string& container_id, int signal, bool all, Deadline deadline) const {
  std::vector<std::string> arguments = {"kill"};
  if (all) arguments.emplace_back("--all");
  arguments.insert(arguments.end(), {container_id, std::to_string(signal)});
  return RunVerb(std::move(arguments), container_id, "", deadline);
}

Result<std::string> RuntimeDriver::VersionText(Deadline deadline) const {
  std::string intent = fmt::format("{} --version", handler_.path);
  ASSIGN_OR_RETURN_WITH(sys::CommandResult result, Run({handler_.path, "--version"}, "", deadline), intent);
  if (result.exit.code != 0 || Trim(result.out).empty()) {
    std::string_view words = Trim(result.out).empty() ? Trim(result.err) : Trim(result.out);
    return FailedPrecondition(
        fmt::format("{}: exit code {} and \"{}\": not an OCI runtime", intent, result.exit.code, Printable(words)));
  }
  return std::string(Trim(result.out));
}

Result<std::string> RuntimeDriver::Version(Deadline deadline) const {
  ASSIGN_OR_RETURN(std::string text, VersionText(deadline));
  return Printable(Trim(std::string_view(text).substr(0, text.find('\n'))));
}

Result<RuntimeFeatures> RuntimeDriver::Features(Deadline deadline) const {
  std::string intent = fmt::format("{} features", handler_.path);
  ASSIGN_OR_RETURN_WITH(sys::CommandResult result, Run({handler_.path, "features"}, "", deadline), intent);
  if (result.exit.code != 0) {
    // From before the command: it answers with its usage and an exit code.
    ASSIGN_OR_RETURN_WITH(std::string version, VersionText(deadline), intent);
    return FeaturesOfCrunVersion(version);
  }
  ASSIGN_OR_RETURN_WITH(RuntimeFeatures features, ParseFeatures(result.out), intent);
  return features;
}

Status RuntimeDriver::Probe(Deadline deadline) const {
  std::string what = fmt::format("runtime handler {}", handler_.name);
  if (handler_.path.empty()) return NotFound(fmt::format("{}: no such program is installed", what));
  struct stat info {};
  if (::stat(handler_.path.c_str(), &info) != 0) return ErrnoError(errno, fmt::format("{}: {}", what, handler_.path));
  if (!S_ISREG(info.st_mode)) return FailedPrecondition(fmt::format("{}: {} is not a file", what, handler_.path));
  if (::access(handler_.path.c_str(), X_OK) != 0) {
    return ErrnoError(errno, fmt::format("{}: execute {}", what, handler_.path));
  }
  ASSIGN_OR_RETURN_WITH(std::string version, Version(deadline), what);
  if (version.rfind("crun ", 0) != 0) return {};
  ASSIGN_OR_RETURN_WITH(sys::CgroupLayout layout, sys::CgroupLayout::Detect(), what);
  if (layout.mode() != sys::CgroupMode::kHybrid) return {};
  ASSIGN_OR_RETURN_WITH(std::string controllers,
                        sys::ReadFile(layout.unified_mount_point() + "/cgroup.controllers", 4096), what);
  std::string remedy = HybridRemedy(controllers);
  return remedy.empty() ? Status() : FailedPrecondition(fmt::format("{}: {}", what, remedy));
}

std::string HybridRemedy(std::string_view controllers) {
  std::vector<std::string> names;
  for (const std::string& word : Split(Trim(controllers), ' ')) {
    if (!Trim(word).empty()) names.emplace_back(Trim(word));
  }
  if (names.empty()) return "";
  std::vector<std::string> commands;
  for (const std::string& name : names) {
    // The one controller whose name differs between the versions.
    std::string v1 = name == "io" ? "blkio" : name;
    commands.push_back(
        fmt::format("mkdir -p /sys/fs/cgroup/{0} && mount -t cgroup -o {0} cgroup /sys/fs/cgroup/{0}", v1));
  }
  return fmt::format(
      "crun refuses a hybrid cgroup host while controllers are left on cgroup2 ({}): mount each as version 1 ({}), or "
      "use runc",
      Join(names, ", "), Join(commands, "; "));
}

}  // namespace davit::runtime
