// davit ps, davit port and davit container prune: the list of containers.
#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "base/time.h"
#include "cli/everyday.h"
#include "cli/filters.h"
#include "cli/format.h"
#include "cli/ps_table.h"
#include "cli/run_values.h"
#include "cli/table.h"
#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

bool Runs(const control::Container& one) {
  return one.state() == control::STATE_RUNNING || one.state() == control::STATE_PAUSED ||
         one.state() == control::STATE_RESTARTING;
}

}  // namespace

Result<int> Ps(const Context& context, const PsOptions& options) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(options.filters, PsFilterKeys()));
  control::ListContainersAllRequest request;
  request.set_full(true);
  Result<control::ListContainersAllResponse> answer = context.client.Call(request);
  if (answer.code() == StatusCode::kUnimplemented && filters.empty() && options.last == 0) {
    ListOptions plain;  // another runtime: what CRI knows
    plain.quiet = options.quiet;
    if (!options.all) plain.state = "running";
    return CtrList(context, plain);
  }
  RETURN_IF_ERROR(answer.status());
  const control::ListContainersAllResponse& list = *answer;
  // Asking for a state is asking for those that do not run, too.
  const bool all = options.all || options.last > 0 || filters.contains("status") || filters.contains("exited");
  ASSIGN_OR_RETURN(PsFilter filter, PsFilter::Make(filters, list));
  std::vector<const control::Container*> shown;
  for (const control::Container& one : list.containers()) {
    if ((all || Runs(one)) && filter.Matches(one)) shown.push_back(&one);
  }
  std::sort(shown.begin(), shown.end(), [](const auto* a, const auto* b) {
    return std::tuple(-a->created_at(), a->id()) < std::tuple(-b->created_at(), b->id());
  });
  if (options.last > 0 && shown.size() > options.last) shown.resize(options.last);
  if (context.out.json) {
    control::ListContainersAllResponse out;
    for (const control::Container* one : shown) *out.add_containers() = *one;
    for (const control::Pod& pod : list.pods()) {
      if (std::any_of(shown.begin(), shown.end(), [&](const auto* one) { return one->pod_id() == pod.id(); })) {
        *out.add_pods() = pod;
      }
    }
    RETURN_IF_ERROR(PrintJson(out));
    return 0;
  }
  if (options.quiet) {
    for (const control::Container* one : shown) PrintLine(one->id());
    return 0;
  }
  Table table({"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "POD"});
  for (const control::Container* one : shown) {
    const control::Pod* pod = PodOf(list, *one);
    table.AddRow({DisplayId(one->id(), context.out.full), DisplayId(one->image(), context.out.full),
                  CommandCell(*one, context.out.full), Moment(context.out, one->created_at()),
                  StatusCell(*one, context.out.full, WallNanos()), pod == nullptr ? "" : PortsCell(*pod), one->name(),
                  pod == nullptr ? "" : PodCell(*pod)});
  }
  Print(table.Render(context.out.colour));
  return 0;
}

Result<int> Port(const Context& context, const std::string& container, const std::string& port) {
  ASSIGN_OR_RETURN(control::ListContainersAllResponse found, FindContainer(context, container));
  const control::Pod* pod = PodOf(found, found.containers(0));
  if (pod == nullptr) return 0;
  std::string wanted = port.empty() || port.find('/') != std::string::npos ? port : port + "/tcp";
  bool any = false;
  for (const cri::PortMapping& one : pod->ports()) {
    std::string inside = fmt::format("{}/{}", one.container_port(), ProtocolWord(one.protocol()));
    std::string outside = HostAddress(one);
    if (!wanted.empty() && wanted != inside) continue;
    any = true;
    PrintLine(wanted.empty() ? inside + " -> " + outside : outside);
  }
  if (!any && !wanted.empty()) {
    return NotFound(fmt::format("container {} does not publish port {}", Printable(container), Printable(port)));
  }
  return 0;
}

Result<int> ContainerPrune(const Context& context, const Names& texts) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(texts, {"label", "until"}));
  int64_t until = WallNanos();
  if (auto found = filters.find("until"); found != filters.end()) {
    ASSIGN_OR_RETURN(until, ParseMoment(found->second, "--filter until", WallNanos()));
    filters.erase("until");
  }
  control::ListContainersAllRequest all;
  all.set_full(true);
  ASSIGN_OR_RETURN(control::ListContainersAllResponse list, context.client.Call(all));
  ASSIGN_OR_RETURN(PsFilter filter, PsFilter::Make(filters, list));
  Names names;
  for (const control::Container& one : list.containers()) {
    const bool over = one.state() == control::STATE_CREATED || one.state() == control::STATE_EXITED ||
                      one.state() == control::STATE_DEAD;
    if (one.standalone() && over && one.created_at() <= until && filter.Matches(one)) names.push_back(one.id());
  }
  return ForEach(names, [&](const std::string& id) {
    control::RemoveStandaloneRequest request;
    request.set_container(id);
    return context.client.Call(request).status();
  });
}

}  // namespace davit::cli
