// What happens on the node, and limits that change.

#include <fmt/format.h>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/table.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

std::string Kind(cri::ContainerEventType type) {
  switch (type) {
    case cri::CONTAINER_CREATED_EVENT:
      return "created";
    case cri::CONTAINER_STARTED_EVENT:
      return "started";
    case cri::CONTAINER_STOPPED_EVENT:
      return "stopped";
    case cri::CONTAINER_DELETED_EVENT:
      return "deleted";
    default:
      return std::to_string(static_cast<int>(type));
  }
}

// "time object kind id namespace/pod[/container] …": one line that both people and grep can take.
std::string Line(const Output& out, const cri::ContainerEventResponse& event) {
  const cri::PodSandboxStatus& pod = event.pod_sandbox_status();
  bool is_pod = pod.id() == event.container_id();
  std::string name = pod.metadata().namespace_() + "/" + pod.metadata().name();
  std::string more;
  for (const cri::ContainerStatus& status : event.containers_statuses()) {
    if (is_pod || status.id() != event.container_id()) continue;
    name += "/" + status.metadata().name();
    if (event.container_event_type() == cri::CONTAINER_STOPPED_EVENT) {
      more = fmt::format(" exit={} reason={}", status.exit_code(), status.reason());
    }
  }
  // A moment ago is what every event is.
  Output exact = out;
  exact.full = true;
  return Sanitise(fmt::format("{} {} {} {} {}{}", Moment(exact, event.created_at()), is_pod ? "pod" : "ctr",
                              Kind(event.container_event_type()), DisplayId(event.container_id(), out.full), name,
                              more));
}

}  // namespace

Result<int> Events(const Context& context) {
  Status printed;
  RETURN_IF_ERROR(context.client.Events([&](const cri::ContainerEventResponse& event) {
    if (context.out.json) {
      printed = PrintJsonLine(event);
    } else {
      PrintLine(Line(context.out, event));
    }
    return printed.ok();
  }));
  RETURN_IF_ERROR(printed);
  return 0;
}

Result<int> CtrUpdate(const Context& context, const CtrUpdateOptions& options) {
  cri::UpdateContainerResourcesRequest request;
  auto* limits = request.mutable_linux();
  limits->set_cpu_shares(options.cpu_shares);
  limits->set_cpu_quota(options.cpu_quota);
  limits->set_cpu_period(options.cpu_period);
  limits->set_memory_limit_in_bytes(options.memory);
  limits->set_memory_swap_limit_in_bytes(options.memory_swap);
  limits->set_cpuset_cpus(options.cpuset_cpus);
  limits->set_cpuset_mems(options.cpuset_mems);
  if (limits->ByteSizeLong() == 0) return InvalidArgument("ctr update: no limit is given");
  for (const std::string& id : options.ids) {
    ASSIGN_OR_RETURN(std::string full, ResolveContainer(context, id));
    request.set_container_id(full);
    RETURN_IF_ERROR(context.client.Call(request).status());
    PrintLine(full);
  }
  return 0;
}

}  // namespace davit::cli
