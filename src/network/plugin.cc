#include "network/plugin.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <chrono>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "network/result.h"
#include "sys/process.h"

namespace davit::network {
namespace {

constexpr std::chrono::seconds kCleanUpTime{10};
constexpr size_t kMaxStderrInError = 1024;

// Other users must not be able to put their code where root executes it.
Status CheckTrust(const std::string& path, const struct stat& st, unsigned owner) {
  if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0) {
    return FailedPrecondition("plugin " + path + " is not an executable file");
  }
  if (st.st_uid != owner) {
    return FailedPrecondition(
        fmt::format("plugin {} belongs to uid {} and not to uid {}: chown it", path, st.st_uid, owner));
  }
  if ((st.st_mode & 022) != 0) {
    return FailedPrecondition(fmt::format("plugin {} can be written by group or others (mode {:04o}): chmod go-w it",
                                          path, st.st_mode & 07777));
  }
  return {};
}

Status ExitError(const sys::CommandResult& result) {
  Status stated = ParseCniError(result.out);
  if (!stated.ok()) return stated;
  std::string how = result.exit.signal != 0 ? fmt::format("ended by signal {}", result.exit.signal)
                                            : fmt::format("ended with exit code {}", result.exit.code);
  std::string_view told = Trim(result.err);
  if (told.empty()) told = Trim(result.out);
  if (!told.empty()) how += ": " + Printable(told, kMaxStderrInError);
  return Internal(std::move(how));
}

// One execution: the configuration on stdin, the result from stdout.
Result<std::string> Execute(const std::string& path, const char* command, const PluginContext& context,
                            const std::string& input, Deadline deadline) {
  sys::SpawnOptions options;
  options.argv = {path};
  options.env = sys::MinimalEnvironment();
  options.env.push_back(std::string("CNI_COMMAND=") + command);
  options.env.push_back("CNI_CONTAINERID=" + context.container_id);
  options.env.push_back("CNI_NETNS=" + context.netns_path);
  options.env.push_back("CNI_IFNAME=" + context.interface);
  options.env.push_back("CNI_PATH=" + Join(context.bin_dirs, ":"));
  options.env.push_back("CNI_ARGS=" + context.args);
  auto begin = Deadline::Clock::now();
  ASSIGN_OR_RETURN(sys::CommandResult result, sys::RunCommand(std::move(options), input, kMaxResultBytes, deadline));
  auto took = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::Clock::now() - begin);
  LogDebug("plugin {} {} for pod {}: exit code {} after {} us", path, command, context.container_id, result.exit.code,
           took.count());
  if (result.exit.code != 0 || result.exit.signal != 0) return ExitError(result);
  return std::move(result.out);
}

// ADD of plugin `index`; returns its result in the shape of the configuration's version.
Result<std::string> AddOne(const NetworkConfig& config, size_t index, const std::string& path,
                           const PluginContext& context, const std::string& previous, Deadline deadline) {
  ASSIGN_OR_RETURN(std::string input, PluginInput(config, index, context.capability_args, previous));
  FaultPoint("pod.run.cni.add." + std::to_string(index));
  ASSIGN_OR_RETURN(std::string output, Execute(path, "ADD", context, input, deadline));
  FaultPoint("pod.run.cni.added." + std::to_string(index));
  // Checked here, so that garbage is never handed on or recorded.
  ASSIGN_OR_RETURN([[maybe_unused]] CniResult parsed, ParseCniResult(output));
  return ConvertCniResult(output, config.cni_version);
}

Status DelOne(const NetworkConfig& config, size_t index, const PluginContext& context, const std::string& cached,
              Deadline deadline) {
  ASSIGN_OR_RETURN(std::string path, FindPlugin(config.plugins[index].type, context.bin_dirs, context.plugin_owner));
  ASSIGN_OR_RETURN(std::string input, PluginInput(config, index, context.capability_args, cached));
  FaultPoint("pod.stop.cni.del." + std::to_string(index));
  Result<std::string> output = Execute(path, "DEL", context, input, deadline);
  FaultPoint("pod.stop.cni.deleted." + std::to_string(index));
  if (!output.ok() && output.code() != StatusCode::kNotFound) return output.status();
  return {};
}

}  // namespace

Result<std::string> FindPlugin(const std::string& type, const std::vector<std::string>& bin_dirs, unsigned owner) {
  if (!IsPathComponent(type)) return FailedPrecondition("\"" + Printable(type) + "\" is not the name of a plugin");
  for (const std::string& dir : bin_dirs) {
    std::string path = dir + "/" + type;
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) continue;
    RETURN_IF_ERROR(CheckTrust(path, st, owner));
    return path;
  }
  return FailedPrecondition("plugin " + type + " is in none of the directories " + Join(bin_dirs, ", "));
}

bool NetnsPinned(const std::string& path) {
  struct statfs fs {};
  return !path.empty() && ::statfs(path.c_str(), &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

Result<std::string> AddNetwork(const NetworkConfig& config, const PluginContext& context, Deadline deadline) {
  std::vector<std::string> paths;
  for (const PluginConfig& plugin : config.plugins) {
    ASSIGN_OR_RETURN(std::string path, FindPlugin(plugin.type, context.bin_dirs, context.plugin_owner));
    paths.push_back(std::move(path));
  }
  std::string result;
  for (size_t i = 0; i < paths.size(); ++i) {
    Result<std::string> added = AddOne(config, i, paths[i], context, result, deadline);
    if (added.ok()) {
      result = std::move(*added);
      continue;
    }
    Status cause = added.status().Annotate("plugin " + config.plugins[i].type);
    // Also of the plugins that did not run: the specification asks for it, and one that was killed
    // half-way has left something.
    Deadline clean_up = Deadline::After(kCleanUpTime);
    if (clean_up.at() < deadline.at()) clean_up = deadline;
    return cause.WithUndoError(DelNetwork(config, context, result, clean_up));
  }
  return result;
}

Status DelNetwork(const NetworkConfig& config, const PluginContext& context, const std::string& cached_result,
                  Deadline deadline) {
  // Plugins of before 0.4.0 know no cached result at DEL.
  std::string cached = VersionAtLeast(config.cni_version, "0.4.0") ? cached_result : "";
  Status first;
  for (size_t i = config.plugins.size(); i-- > 0;) {
    Status deleted = DelOne(config, i, context, cached, deadline);
    if (deleted.ok()) continue;
    deleted = deleted.Annotate("plugin " + config.plugins[i].type);
    if (first.ok()) {
      first = deleted;
    } else {
      LogWarning("pod {}: detach network {}: {}", context.container_id, config.name, deleted.message());
    }
  }
  return first;
}

}  // namespace davit::network
