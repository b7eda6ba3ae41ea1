// davit pod create, start, ps, and what davit pod stop and remove do with a standalone pod; davit system prune.
#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "cli/everyday.h"
#include "cli/filters.h"
#include "cli/format.h"
#include "cli/ps_table.h"
#include "cli/run_values.h"
#include "cli/standalone_spec.h"
#include "cli/table.h"
#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

std::string PodState(const control::Pod& pod) {
  return pod.ready() ? "Running" : pod.started_once() ? "Stopped" : "Created";
}

bool Holds(const control::Pod& pod, const std::string& key, const std::string& value) {
  if (key == "name") return pod.name().find(value) != std::string::npos;
  if (key == "id") return pod.id().starts_with(value);
  if (key == "standalone") return pod.standalone() == (value == "true");
  if (key == "status") {
    std::string state = PodState(pod);
    return std::equal(state.begin(), state.end(), value.begin(), value.end(), [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
    });
  }
  return LabelHolds(pod.config().labels(), value);
}

auto HoldsOf(const control::Pod& pod) {
  return [&pod](const std::string& key, const std::string& value) { return Holds(pod, key, value); };
}

}  // namespace

Result<int> PodCreate(const Context& context, const RunOptions& given) {
  RunOptions options = given;
  if (options.name.empty()) options.name = ChooseName();
  options.image = "none";
  ASSIGN_OR_RETURN(StandaloneSpec spec, MakeStandaloneSpec(options));
  control::CreatePodRequest request;
  *request.mutable_config() = spec.request.pod_config();
  *request.mutable_config()->mutable_labels() = spec.request.config().labels();
  *request.mutable_options() = spec.request.pod_options();
  request.set_runtime_handler(spec.request.runtime_handler());
  ASSIGN_OR_RETURN(control::CreatePodResponse made, context.client.Call(request));
  PrintLine(made.pod_id());
  return 0;
}

Result<int> PodStart(const Context& context, const Names& pods) {
  return ForEach(pods, [&](const std::string& name) -> Status {
    control::StartPodRequest request;
    request.set_pod(name);
    RETURN_IF_ERROR(WithKubeletHint(context.client.Call(request).status(), "it runs as long as it is there"));
    control::ListPodsRequest find;
    find.add_pods(name);
    ASSIGN_OR_RETURN(control::ListPodsResponse found, context.client.Call(find));
    ASSIGN_OR_RETURN(control::ListContainersAllResponse all, context.client.Call(control::ListContainersAllRequest()));
    for (const control::Container& one : all.containers()) {
      if (found.pods_size() != 1 || one.pod_id() != found.pods(0).id()) continue;
      control::StartStandaloneRequest start;
      start.set_container(one.id());
      RETURN_IF_ERROR(context.client.Call(start).status());
    }
    return {};
  });
}

Result<int> PodPs(const Context& context, const Names& texts, bool quiet) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(texts, {"name", "id", "standalone", "status", "label"}));
  ASSIGN_OR_RETURN(control::ListPodsResponse list, context.client.Call(control::ListPodsRequest()));
  ASSIGN_OR_RETURN(control::ListContainersAllResponse all, context.client.Call(control::ListContainersAllRequest()));
  control::ListPodsResponse shown;
  for (const control::Pod& pod : list.pods()) {
    // The pod of one container is that container's own affair.
    if (!pod.implicit() && Matches(filters, HoldsOf(pod))) *shown.add_pods() = pod;
  }
  std::sort(shown.mutable_pods()->begin(), shown.mutable_pods()->end(), [](const auto& a, const auto& b) {
    return std::tuple(-a.created_at(), a.id()) < std::tuple(-b.created_at(), b.id());
  });
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(shown));
    return 0;
  }
  Table table({"POD ID", "NAME", "STATUS", "CREATED", "CONTAINERS", "IP", "OWNER"});
  for (const control::Pod& pod : shown.pods()) {
    if (quiet) {
      PrintLine(pod.id());
      continue;
    }
    auto count = std::count_if(all.containers().begin(), all.containers().end(),
                               [&](const auto& one) { return one.pod_id() == pod.id(); });
    table.AddRow({DisplayId(pod.id(), context.out.full), pod.name(), PodState(pod),
                  Moment(context.out, pod.created_at()), std::to_string(count),
                  Join({pod.ips().begin(), pod.ips().end()}, ","),
                  pod.standalone() ? "" : "kubelet: " + pod.config().metadata().namespace_()});
  }
  if (!quiet) Print(table.Render(context.out.colour));
  return 0;
}

Result<int> SystemPrune(const Context& context, bool all, bool volumes) {
  int code = 0;
  auto step = [&](Result<int> result) -> Status {
    RETURN_IF_ERROR(result.status());
    code = std::max(code, *result);
    return {};
  };
  RETURN_IF_ERROR(step(ContainerPrune(context, {})));
  // What a server does not have yet has nothing to prune.
  auto optional = [&](Result<int> result) {
    return result.code() == StatusCode::kUnimplemented ? Status() : step(std::move(result));
  };
  RETURN_IF_ERROR(optional(NetworkPrune(context)));
  if (volumes) RETURN_IF_ERROR(optional(VolumePrune(context, false, {})));
  RETURN_IF_ERROR(optional(ImagePrune(context, all, {})));
  return code;
}

}  // namespace davit::cli
