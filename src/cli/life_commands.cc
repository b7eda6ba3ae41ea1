// The life of a container: create, start, stop, kill, pause, wait, rm.
#include <fmt/format.h>

#include "base/strings.h"
#include "cli/everyday.h"
#include "cli/exit_wait.h"
#include "cli/run_values.h"
#include "cli/standalone_spec.h"
#include "davit/control/v1/standalone.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

// The ids of all standalone containers, or of those that run.
Result<Names> AllContainers(const Context& context, bool running) {
  ASSIGN_OR_RETURN(control::ListContainersAllResponse list, context.client.Call(control::ListContainersAllRequest()));
  Names out;
  for (const control::Container& one : list.containers()) {
    const bool runs = one.state() == control::STATE_RUNNING || one.state() == control::STATE_PAUSED ||
                      one.state() == control::STATE_RESTARTING;
    if (one.standalone() && (runs || !running)) out.push_back(one.id());
  }
  return out;
}

Status StopOne(const Context& context, const StopOptions& options, const std::string& name) {
  control::StopStandaloneRequest request;
  request.set_container(name);
  if (options.timeout_seconds) request.set_timeout_seconds(*options.timeout_seconds);
  request.set_signal(options.signal);
  return WithKubeletHint(context.client.Call(request).status(), "davit ctr stop");
}

Status StartOne(const Context& context, const std::string& name) {
  control::StartStandaloneRequest request;
  request.set_container(name);
  return WithKubeletHint(context.client.Call(request).status(), "davit ctr start");
}

}  // namespace

Result<int> ForEach(const Names& names, const std::function<Status(const std::string&)>& one) {
  int code = 0;
  for (const std::string& name : names) {
    Status status = one(name);
    if (status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kUnimplemented) return status;
    if (status.ok()) {
      PrintLine(name);
    } else {
      PrintError(status);
      code = 1;
    }
  }
  return code;
}

Status WithKubeletHint(Status status, std::string_view instead) {
  if (status.code() != StatusCode::kPermissionDenied) return status;
  return Status(status.code(),
                fmt::format("{}; its pod decides about it (kubectl), or through CRI: {}", status.message(), instead));
}

Result<control::ListContainersAllResponse> FindContainer(const Context& context, const std::string& name) {
  control::ListContainersAllRequest request;
  request.add_containers(name);
  request.set_full(true);
  ASSIGN_OR_RETURN(control::ListContainersAllResponse found, context.client.Call(request));
  if (found.containers_size() != 1) return NotFound("no container \"" + Printable(name) + "\"");
  return found;
}

const control::Pod* PodOf(const control::ListContainersAllResponse& list, const control::Container& container) {
  for (const control::Pod& pod : list.pods()) {
    if (pod.id() == container.pod_id()) return &pod;
  }
  return nullptr;
}

bool Confirmed(bool force, const std::string& question) {
  if (force) return true;
  std::fputs((question + " [y/N] ").c_str(), stderr);
  int first = std::fgetc(stdin);
  return first == 'y' || first == 'Y';
}

Result<int> Start(const Context& context, const StartOptions& options) {
  if (!options.attach && !options.interactive) {
    return ForEach(options.containers, [&](const std::string& name) { return StartOne(context, name); });
  }
  if (options.containers.size() != 1) return InvalidArgument("start: -a and -i take one container");
  AttachedRun run;
  ASSIGN_OR_RETURN(control::ListContainersAllResponse found, FindContainer(context, options.containers.front()));
  const control::Container& container = found.containers(0);
  if (!container.standalone()) {
    return WithKubeletHint(PermissionDenied("start: container " + container.id() + " is the kubelet's"),
                           "davit ctr start");
  }
  if (container.state() == control::STATE_RUNNING) return AttachTo(context, container.id(), !options.interactive);
  run.container = container.id();
  run.input = options.interactive && container.config().stdin();
  run.removed_at_end = container.options().auto_remove();
  return RunAttached(context, run);
}

Result<int> Stop(const Context& context, const StopOptions& options) {
  Names names = options.containers;
  if (options.all) {
    ASSIGN_OR_RETURN(names, AllContainers(context, true));
  }
  return ForEach(names, [&](const std::string& name) { return StopOne(context, options, name); });
}

Result<int> Restart(const Context& context, const StopOptions& options) {
  return ForEach(options.containers, [&](const std::string& name) -> Status {
    RETURN_IF_ERROR(StopOne(context, options, name));
    return StartOne(context, name);
  });
}

Result<int> Kill(const Context& context, const StopOptions& options) {
  Names names = options.containers;
  if (options.all) {
    ASSIGN_OR_RETURN(names, AllContainers(context, true));
  }
  return ForEach(names, [&](const std::string& name) {
    control::KillContainerRequest request;
    request.set_container(name);
    request.set_signal(options.signal);
    return WithKubeletHint(context.client.Call(request).status(), "davit ctr stop --timeout 0");
  });
}

Result<int> Pause(const Context& context, const Names& containers) {
  return ForEach(containers, [&](const std::string& name) {
    control::PauseContainerRequest request;
    request.set_container(name);
    return context.client.Call(request).status();
  });
}

Result<int> Unpause(const Context& context, const Names& containers) {
  return ForEach(containers, [&](const std::string& name) {
    control::UnpauseContainerRequest request;
    request.set_container(name);
    return context.client.Call(request).status();
  });
}

Result<int> WaitFor(const Context& context, const Names& containers, const std::string& condition) {
  static const std::map<std::string, control::WaitCondition, std::less<>> kConditions = {
      {"", control::WAIT_NOT_RUNNING},
      {"stopped", control::WAIT_NOT_RUNNING},
      {"not-running", control::WAIT_NOT_RUNNING},
      {"next-exit", control::WAIT_NEXT_EXIT},
      {"exited", control::WAIT_EXITED},
      {"removed", control::WAIT_REMOVED},
      {"running", control::WAIT_RUNNING},
      {"healthy", control::WAIT_HEALTHY}};
  auto found = kConditions.find(condition);
  if (found == kConditions.end()) {
    return InvalidArgument(fmt::format(
        "--condition \"{}\": not-running, next-exit, exited, removed, running or healthy", Printable(condition)));
  }
  int result = 0;
  for (const std::string& name : containers) {
    ExitWait wait(context.client, name, found->second);
    Result<int> code = wait.Take();
    if (code.code() == StatusCode::kUnavailable || code.code() == StatusCode::kUnimplemented) return code;
    if (code.ok()) {
      PrintLine(std::to_string(*code));
    } else {
      PrintError(code.status());
      result = 1;
    }
  }
  return result;
}

Result<int> Remove(const Context& context, const RemoveOptions& options) {
  Names names = options.containers;
  if (options.all) {
    ASSIGN_OR_RETURN(names, AllContainers(context, false));
  }
  return ForEach(names, [&](const std::string& name) -> Status {
    control::RemoveStandaloneRequest request;
    request.set_container(name);
    request.set_force(options.force);
    request.set_volumes(options.volumes);
    Status status = context.client.Call(request).status();
    // With -f what is not there is what was wanted.
    if (options.force && status.code() == StatusCode::kNotFound) return {};
    return WithKubeletHint(std::move(status), "davit ctr remove -f");
  });
}

Result<int> Rename(const Context& context, const std::string& container, const std::string& name) {
  control::RenameContainerRequest request;
  request.set_container(container);
  request.set_name(name);
  RETURN_IF_ERROR(WithKubeletHint(context.client.Call(request).status(), "its name is its pod's"));
  return 0;
}

Result<int> Update(const Context& context, const Names& containers, const RunOptions& options) {
  control::UpdateStandaloneRequest request;
  ASSIGN_OR_RETURN(cri::LinuxContainerResources resources, ResourcesOf(options));
  const bool limits = resources.ByteSizeLong() > 0;
  if (limits) *request.mutable_resources() = resources;
  if (!options.restart.empty()) {
    ASSIGN_OR_RETURN(*request.mutable_restart(), ParseRestart(options.restart));
  }
  if (!limits && options.restart.empty()) return InvalidArgument("update: neither a limit nor --restart is given");
  return ForEach(containers, [&](const std::string& name) {
    request.set_container(name);
    return WithKubeletHint(context.client.Call(request).status(), "davit ctr update");
  });
}

}  // namespace davit::cli
