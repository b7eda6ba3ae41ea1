#include <fmt/format.h>

#include "base/ids.h"
#include "base/strings.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/format.h"
#include "cli/resolve.h"
#include "cli/table.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

std::string State(cri::ContainerState state) { return StateWord(cri::ContainerState_Name(state)); }

Result<cri::ContainerFilter> ContainerFilterOf(const Context& context, const ListOptions& options) {
  cri::ContainerFilter filter;
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(label, "--label"));
    (*filter.mutable_label_selector())[pair.first] = pair.second;
  }
  if (!options.pod.empty()) {
    ASSIGN_OR_RETURN(*filter.mutable_pod_sandbox_id(), ResolvePod(context, options.pod));
  }
  if (options.state.empty()) return filter;
  std::string name = "CONTAINER_";
  for (char c : options.state) name.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  cri::ContainerState state = cri::CONTAINER_UNKNOWN;
  if (!cri::ContainerState_Parse(name, &state)) {
    return InvalidArgument("--state \"" + Printable(options.state) + "\": created, running, exited or unknown");
  }
  filter.mutable_state()->set_state(state);
  return filter;
}

// What CreateContainer's sandbox_config needs when the pod's file is not given: the identity, from the
// pod's status. The log directory is not in it, so runtimes that take it from here get none.
Result<cri::PodSandboxConfig> PodConfigFromStatus(const Context& context, const std::string& pod) {
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(pod);
  ASSIGN_OR_RETURN(cri::PodSandboxStatusResponse response, context.client.Call(request));
  cri::PodSandboxConfig config;
  *config.mutable_metadata() = response.status().metadata();
  *config.mutable_labels() = response.status().labels();
  *config.mutable_annotations() = response.status().annotations();
  config.mutable_linux();
  return config;
}

}  // namespace

Result<std::string> ResolveContainer(const Context& context, const std::string& text) {
  if (IsFullId(text)) return text;
  ASSIGN_OR_RETURN(cri::ListContainersResponse list, context.client.Call(cri::ListContainersRequest()));
  std::vector<Candidate> candidates;
  for (const cri::Container& container : list.containers()) {
    candidates.push_back({container.id(), container.metadata().name()});
  }
  return ResolveId(candidates, text, "container");
}

Result<int> CtrCreate(const Context& context, const CtrCreateOptions& options) {
  cri::CreateContainerRequest request;
  ASSIGN_OR_RETURN(*request.mutable_config(), LoadContainerConfig(options.config));
  ASSIGN_OR_RETURN(std::string pod, ResolvePod(context, options.pod));
  request.set_pod_sandbox_id(pod);
  if (options.pod_config.empty()) {
    ASSIGN_OR_RETURN(*request.mutable_sandbox_config(), PodConfigFromStatus(context, pod));
  } else {
    ASSIGN_OR_RETURN(*request.mutable_sandbox_config(), LoadPodConfig(options.pod_config));
  }
  Result<cri::CreateContainerResponse> response = context.client.Call(request);
  if (!response.ok() && response.code() == StatusCode::kNotFound && !request.config().image().image().empty()) {
    return Status(response.code(),
                  fmt::format("{} (if the image is missing: davit image pull {})", response.status().message(),
                              Printable(request.config().image().image())));
  }
  RETURN_IF_ERROR(response.status());
  PrintLine(response->container_id());
  return 0;
}

Result<int> CtrStart(const Context& context, const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    cri::StartContainerRequest request;
    ASSIGN_OR_RETURN(std::string full, ResolveContainer(context, id));
    request.set_container_id(full);
    RETURN_IF_ERROR(context.client.Call(request).status());
    PrintLine(full);
  }
  return 0;
}

Result<int> CtrStatus(const Context& context, const std::string& id) {
  cri::ContainerStatusRequest request;
  ASSIGN_OR_RETURN(std::string full, ResolveContainer(context, id));
  request.set_container_id(full);
  request.set_verbose(context.out.json);
  ASSIGN_OR_RETURN(cri::ContainerStatusResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  const cri::ContainerStatus& status = response.status();
  Fields fields;
  fields.Add("ID", status.id());
  fields.Add("Name", status.metadata().name());
  fields.Add("Attempt", std::to_string(status.metadata().attempt()));
  fields.Add("State", State(status.state()));
  fields.Add("Created", Moment(context.out, status.created_at()));
  fields.Add("Started", Moment(context.out, status.started_at()));
  if (status.state() == cri::CONTAINER_EXITED) {
    fields.Add("Finished", Moment(context.out, status.finished_at()));
    fields.Add("Exit code", std::to_string(status.exit_code()));
    if (!status.reason().empty()) fields.Add("Reason", status.reason());
    if (!status.message().empty()) fields.Add("Message", status.message());
  }
  fields.Add("Image", status.image().image());
  fields.Add("Image ID", status.image_id().empty() ? status.image_ref() : status.image_id());
  fields.Add("Log", status.log_path());
  std::vector<std::string> mounts;
  for (const cri::Mount& mount : status.mounts()) {
    mounts.push_back(
        fmt::format("{} -> {}{}", mount.host_path(), mount.container_path(), mount.readonly() ? " (read-only)" : ""));
  }
  if (!mounts.empty()) fields.Add("Mounts", Join(mounts, "\n"));
  Print(fields.Render());
  return 0;
}

Result<int> CtrStop(const Context& context, const std::vector<std::string>& ids, int64_t grace_seconds) {
  for (const std::string& id : ids) {
    cri::StopContainerRequest request;
    ASSIGN_OR_RETURN(std::string full, ResolveContainer(context, id));
    request.set_container_id(full);
    request.set_timeout(grace_seconds);
    RETURN_IF_ERROR(context.client.Call(request).status());
    PrintLine(full);
  }
  return 0;
}

Result<int> CtrRemove(const Context& context, const std::vector<std::string>& ids, bool force) {
  for (const std::string& id : ids) {
    ASSIGN_OR_RETURN(std::string full, ResolveContainer(context, id));
    if (force) {
      cri::StopContainerRequest stop;
      stop.set_container_id(full);
      RETURN_IF_ERROR(context.client.Call(stop).status());
    }
    cri::RemoveContainerRequest request;
    request.set_container_id(full);
    RETURN_IF_ERROR(context.client.Call(request).status());
    PrintLine(full);
  }
  return 0;
}

Result<int> CtrList(const Context& context, const ListOptions& options) {
  cri::ListContainersRequest request;
  ASSIGN_OR_RETURN(*request.mutable_filter(), ContainerFilterOf(context, options));
  ASSIGN_OR_RETURN(cri::ListContainersResponse response, context.client.Call(request));
  std::sort(response.mutable_containers()->begin(), response.mutable_containers()->end(),
            [](const auto& a, const auto& b) {
              return std::tuple(-a.created_at(), a.id()) < std::tuple(-b.created_at(), b.id());
            });
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  Table table({"CONTAINER ID", "NAME", "IMAGE", "STATE", "ATTEMPT", "POD ID", "CREATED"});
  for (const cri::Container& container : response.containers()) {
    if (options.quiet) {
      PrintLine(container.id());
      continue;
    }
    table.AddRow({DisplayId(container.id(), context.out.full), container.metadata().name(),
                  DisplayId(container.image().image(), context.out.full), State(container.state()),
                  std::to_string(container.metadata().attempt()),
                  DisplayId(container.pod_sandbox_id(), context.out.full),
                  Moment(context.out, container.created_at())});
  }
  if (!options.quiet) Print(table.Render(context.out.colour));
  return 0;
}

}  // namespace davit::cli
