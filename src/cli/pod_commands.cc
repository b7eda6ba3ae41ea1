#include <fmt/format.h>

#include "base/ids.h"
#include "base/strings.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/format.h"
#include "cli/resolve.h"
#include "cli/run_spec.h"
#include "cli/table.h"
#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"
#include "sys/atomic_file.h"

namespace davit::cli {
namespace {

std::string State(cri::PodSandboxState state) { return StateWord(cri::PodSandboxState_Name(state)); }

std::string Pairs(const google::protobuf::Map<std::string, std::string>& map) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : map) lines.push_back(key + "=" + value);
  std::sort(lines.begin(), lines.end());
  return Join(lines, "\n");
}

// The log directory of a pod that `davit run` made, which goes with the pod; "" for every other pod.
std::string OwnLogDirectory(const Context& context, const std::string& id) {
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(id);
  Result<cri::PodSandboxStatusResponse> response = context.client.Call(request);
  if (!response.ok()) return {};  // removing will say what is wrong
  auto found = response->status().annotations().find(kLogDirectoryAnnotation);
  return found != response->status().annotations().end() && IsRunLogDirectory(found->second) ? found->second : "";
}

// The kubelet's pods are refused, and other runtimes know no standalone ones: those calls are CRI's.
Result<bool> DoneOrOfCri(const Status& status) {
  const bool of_cri = status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kPermissionDenied ||
                      status.code() == StatusCode::kNotFound;
  if (of_cri) return false;
  RETURN_IF_ERROR(status);
  return true;
}

Result<cri::PodSandboxFilter> PodFilter(const ListOptions& options) {
  cri::PodSandboxFilter filter;
  for (const std::string& label : options.labels) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(label, "--label"));
    (*filter.mutable_label_selector())[pair.first] = pair.second;
  }
  if (options.state == "ready") {
    filter.mutable_state()->set_state(cri::SANDBOX_READY);
  } else if (options.state == "notready") {
    filter.mutable_state()->set_state(cri::SANDBOX_NOTREADY);
  } else if (!options.state.empty()) {
    return InvalidArgument("--state \"" + Printable(options.state) + "\": ready or notready");
  }
  return filter;
}

}  // namespace

Result<std::pair<std::string, std::string>> ParsePair(const std::string& text, const std::string& flag) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return InvalidArgument(fmt::format("{} \"{}\" is not key=value", flag, Printable(text)));
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

Result<std::string> ResolvePod(const Context& context, const std::string& text) {
  if (IsFullId(text)) return text;
  ASSIGN_OR_RETURN(cri::ListPodSandboxResponse list, context.client.Call(cri::ListPodSandboxRequest()));
  std::vector<Candidate> candidates;
  for (const cri::PodSandbox& pod : list.items()) candidates.push_back({pod.id(), pod.metadata().name()});
  return ResolveId(candidates, text, "pod");
}

Result<int> PodRun(const Context& context, const PodRunOptions& options) {
  cri::RunPodSandboxRequest request;
  ASSIGN_OR_RETURN(*request.mutable_config(), LoadPodConfig(options.config));
  request.set_runtime_handler(options.handler);
  ASSIGN_OR_RETURN(cri::RunPodSandboxResponse response, context.client.Call(request));
  PrintLine(response.pod_sandbox_id());
  return 0;
}

Result<int> PodStatus(const Context& context, const std::string& id) {
  cri::PodSandboxStatusRequest request;
  ASSIGN_OR_RETURN(std::string full, ResolvePod(context, id));
  request.set_pod_sandbox_id(full);
  request.set_verbose(context.out.json);
  ASSIGN_OR_RETURN(cri::PodSandboxStatusResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  const cri::PodSandboxStatus& status = response.status();
  Fields fields;
  fields.Add("ID", status.id());
  fields.Add("Name", status.metadata().name());
  fields.Add("Namespace", status.metadata().namespace_());
  fields.Add("UID", status.metadata().uid());
  fields.Add("Attempt", std::to_string(status.metadata().attempt()));
  fields.Add("State", State(status.state()));
  fields.Add("Created", Moment(context.out, status.created_at()));
  std::string addresses = status.network().ip();
  for (const cri::PodIP& more : status.network().additional_ips()) addresses += "\n" + more.ip();
  fields.Add("IP", addresses);
  if (!status.runtime_handler().empty()) fields.Add("Runtime", status.runtime_handler());
  fields.Add("Labels", Pairs(status.labels()));
  fields.Add("Annotations", Pairs(status.annotations()));
  Print(fields.Render());
  return 0;
}

namespace {

// True when a standalone pod is meant, and it is done; false: CRI's.
Result<bool> StopStandalonePod(const Context& context, const std::string& name) {
  control::v1::StopPodRequest request;
  request.set_pod(name);
  return DoneOrOfCri(context.client.Call(request).status());
}

Result<bool> RemoveStandalonePod(const Context& context, const std::string& name, bool force) {
  control::v1::RemovePodRequest request;
  request.set_pod(name);
  request.set_force(force);
  return DoneOrOfCri(context.client.Call(request).status());
}

}  // namespace

Result<int> PodStop(const Context& context, const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    ASSIGN_OR_RETURN(bool done, StopStandalonePod(context, id));
    if (done) {
      PrintLine(id);
      continue;
    }
    cri::StopPodSandboxRequest request;
    ASSIGN_OR_RETURN(std::string full, ResolvePod(context, id));
    request.set_pod_sandbox_id(full);
    RETURN_IF_ERROR(context.client.Call(request).status());
    PrintLine(full);
  }
  return 0;
}

Result<int> PodRemove(const Context& context, const std::vector<std::string>& ids, bool force) {
  for (const std::string& id : ids) {
    ASSIGN_OR_RETURN(bool done, RemoveStandalonePod(context, id, force));
    if (done) {
      PrintLine(id);
      continue;
    }
    ASSIGN_OR_RETURN(std::string full, ResolvePod(context, id));
    if (force) {
      cri::StopPodSandboxRequest stop;
      stop.set_pod_sandbox_id(full);
      RETURN_IF_ERROR(context.client.Call(stop).status());
    }
    std::string logs = OwnLogDirectory(context, full);
    cri::RemovePodSandboxRequest request;
    request.set_pod_sandbox_id(full);
    RETURN_IF_ERROR(context.client.Call(request).status());
    if (!logs.empty()) IgnoreError(sys::RemoveTree(logs));  // perhaps only the server's user may
    PrintLine(full);
  }
  return 0;
}

Result<int> PodList(const Context& context, const ListOptions& options) {
  cri::ListPodSandboxRequest request;
  ASSIGN_OR_RETURN(*request.mutable_filter(), PodFilter(options));
  ASSIGN_OR_RETURN(cri::ListPodSandboxResponse response, context.client.Call(request));
  // The newest first, and in the same order whatever the server's.
  std::sort(response.mutable_items()->begin(), response.mutable_items()->end(), [](const auto& a, const auto& b) {
    return std::tuple(-a.created_at(), a.id()) < std::tuple(-b.created_at(), b.id());
  });
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  Table table({"POD ID", "NAME", "NAMESPACE", "ATTEMPT", "STATE", "RUNTIME", "CREATED"});
  for (const cri::PodSandbox& pod : response.items()) {
    if (options.quiet) {
      PrintLine(pod.id());
      continue;
    }
    table.AddRow({DisplayId(pod.id(), context.out.full), pod.metadata().name(), pod.metadata().namespace_(),
                  std::to_string(pod.metadata().attempt()), State(pod.state()),
                  pod.runtime_handler().empty() ? "(default)" : pod.runtime_handler(),
                  Moment(context.out, pod.created_at())});
  }
  if (!options.quiet) Print(table.Render(context.out.colour));
  return 0;
}

}  // namespace davit::cli
