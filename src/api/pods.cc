// Pods of Podman's API: the kubelet's to look at, one's own to drive.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/create_spec.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "api/make.h"
#include "base/strings.h"
#include "client/client.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const std::vector<std::string> kFilters = {"id",        "name",       "label",      "label!",  "status", "ctr-ids",
                                           "ctr-names", "ctr-number", "ctr-status", "network", "until"};

using Members = std::map<std::string, std::vector<Entry>>;  // by pod

Result<Members> MembersOfAll(Api& api) {
  Members members;
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  for (Entry& entry : entries) members[entry.container.pod_id()].push_back(std::move(entry));
  return members;
}

Status MayChangePod(Api& api, const control::Pod& pod, std::string_view verb) {
  if (pod.standalone() || api.options().allow_kubernetes_changes) return {};
  return KubernetesOwns(verb, pod.name());
}

std::string_view InfraState(const control::Pod& pod) {
  return pod.ready() ? "running" : pod.started_once() ? "exited" : "created";
}

bool HasInfra(const control::Pod& pod) {
  const json::value asked = OriginalRequest(pod.options().client_data(), "libpod");
  if (!asked.is_object()) return true;
  const json::value* none = asked.get_object().if_contains("no_infra");
  return none == nullptr || !none->is_bool() || !none->get_bool();
}

json::object PodSummary(const control::Pod& pod, const std::vector<Entry>& members) {
  json::array containers;
  for (const Entry& entry : members) {
    containers.push_back({{"Id", entry.container.id()},
                          {"Names", entry.name},
                          {"Status", View(StateName(entry.container.state()))},
                          {"RestartCount", entry.container.restart_count()}});
  }
  bool infra = HasInfra(pod);
  if (infra) {
    containers.push_back({{"Id", InfraId(pod.id())},
                          {"Names", pod.id().substr(0, 12) + "-infra"},
                          {"Status", View(InfraState(pod))},
                          {"RestartCount", 0}});
  }
  json::array networks;
  for (const control::NetworkEndpoint& endpoint : pod.networks()) networks.emplace_back(endpoint.network());
  return {{"Cgroup", pod.cgroup()},
          {"Containers", std::move(containers)},
          {"Created", GoTime(pod.created_at())},
          {"Id", pod.id()},
          {"InfraId", infra ? InfraId(pod.id()) : std::string()},
          {"Name", pod.name()},
          {"Namespace", pod.standalone() ? std::string() : pod.config().metadata().namespace_()},
          {"Networks", std::move(networks)},
          {"Status", View(PodStateName(pod, members))},
          {"Labels", StringObject(pod.config().labels())}};
}

bool Passes(const control::Pod& pod, const std::vector<Entry>& members, const Filters& filters) {
  if (!filters.Begins("id", pod.id()) || !filters.Matches("name", pod.name())) return false;
  if (!filters.Labels(pod.config().labels())) return false;
  if (filters.Has("status")) {
    bool any = false;
    for (const std::string& word : filters.Values("status"))
      any = any || http::EqualsIgnoreCase(word, PodStateName(pod, members));
    if (!any) return false;
  }
  if (filters.Has("ctr-number") && !filters.Equals("ctr-number", std::to_string(members.size() + 1))) return false;
  auto some = [&](const char* key, auto&& predicate) {
    if (!filters.Has(key)) return true;
    for (const Entry& entry : members) {
      if (predicate(entry)) return true;
    }
    return false;
  };
  if (!some("ctr-ids", [&](const Entry& entry) { return filters.Begins("ctr-ids", entry.container.id()); }))
    return false;
  if (!some("ctr-names", [&](const Entry& entry) { return filters.Matches("ctr-names", entry.name); })) return false;
  if (!some("ctr-status",
            [&](const Entry& entry) { return filters.Equals("ctr-status", StateName(entry.container.state())); })) {
    return false;
  }
  return some("network", [](const Entry&) { return true; }) || !filters.Has("network");
}

Result<Reply> List(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  ASSIGN_OR_RETURN(std::vector<control::Pod> pods, api.engine().Pods());
  ASSIGN_OR_RETURN(Members members, MembersOfAll(api));
  json::array out;
  for (const control::Pod& pod : pods) {
    if (Passes(pod, members[pod.id()], filters)) out.push_back(PodSummary(pod, members[pod.id()]));
  }
  return JsonReply(out);
}

Result<Reply> Inspect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::Pod pod, api.engine().FindPod(request.Param("name")));
  ASSIGN_OR_RETURN(Members members, MembersOfAll(api));
  const std::vector<Entry>& own = members[pod.id()];
  json::array containers;
  for (const Entry& entry : own) {
    containers.push_back(
        {{"Id", entry.container.id()}, {"Name", entry.name}, {"State", View(StateName(entry.container.state()))}});
  }
  bool infra = HasInfra(pod);
  if (infra) {
    containers.push_back(
        {{"Id", InfraId(pod.id())}, {"Name", pod.id().substr(0, 12) + "-infra"}, {"State", View(InfraState(pod))}});
  }
  json::value asked = OriginalRequest(pod.options().client_data(), "libpod");
  json::value command = json::array();
  if (asked.is_object() && asked.get_object().contains("pod_create_command")) command = asked.at("pod_create_command");
  bool host = pod.config().linux().security_context().namespace_options().network() == cri::NODE;
  json::array networks;
  for (const control::NetworkEndpoint& endpoint : pod.networks()) networks.emplace_back(endpoint.network());
  json::object infra_config = {{"PortBindings", PortBindings(pod)},
                               {"HostNetwork", host},
                               {"StaticIP", ""},
                               {"StaticMAC", ""},
                               {"NoManageResolvConf", false},
                               {"DNSServer", nullptr},
                               {"DNSSearch", nullptr},
                               {"DNSOption", nullptr},
                               {"NoManageHosts", false},
                               {"HostAdd", StringArray(pod.options().extra_hosts())},
                               {"Networks", std::move(networks)},
                               {"NetworkOptions", nullptr},
                               {"pid_ns", "private"},
                               {"userns", "host"},
                               {"uts_ns", "private"}};
  int64_t count = static_cast<int64_t>(containers.size());
  return JsonReply(json::object{{"Id", pod.id()},
                                {"Name", pod.name()},
                                {"Namespace", pod.standalone() ? std::string() : pod.config().metadata().namespace_()},
                                {"Created", GoTime(pod.created_at())},
                                {"CreateCommand", std::move(command)},
                                {"ExitPolicy", "continue"},
                                {"State", View(PodStateName(pod, own))},
                                {"Hostname", pod.hostname()},
                                {"Labels", StringObject(pod.config().labels())},
                                {"CreateCgroup", true},
                                {"CgroupParent", ""},
                                {"CgroupPath", pod.cgroup()},
                                {"CreateInfra", infra},
                                {"InfraContainerID", infra ? InfraId(pod.id()) : std::string()},
                                {"InfraConfig", std::move(infra_config)},
                                {"SharedNamespaces", json::array{"ipc", "net", "uts"}},
                                {"NumContainers", count},
                                {"Containers", std::move(containers)},
                                {"LockNumber", 0}});
}

Result<Reply> Exists(Api& api, const Request& request) {
  RETURN_IF_ERROR(api.engine().FindPod(request.Param("name")).status());
  return EmptyReply(204);
}

// ---- Create ----

Result<control::CreatePodRequest> ReadPod(const JsonReader& body, const std::string& text) {
  SpecBuilder builder;
  std::string name = body["name"].Str();
  Status named = builder.Name(name);
  if (!named.ok()) {
    return InvalidArgument(
        fmt::format("failed to make pod: running pod create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: "
                    "invalid argument"));
  }
  std::string mode = body["netns"]["nsmode"].Str();
  if (mode == "default" || mode == "private") mode = "bridge";
  if (mode == "path" || mode == "container")
    return Unimplemented(fmt::format("network mode {} of a pod is not supported", mode));
  RETURN_IF_ERROR(builder.Network(mode));
  for (const auto& [network, endpoint] : body["Networks"].Members()) {
    control::NetworkEndpointConfig* to = builder.pod_options().add_networks();
    to->set_network(network == "podman" || network == "bridge" || network == "default" ? "" : network);
    for (const std::string& alias : endpoint["aliases"].Strings()) to->add_aliases(alias);
    for (const std::string& address : endpoint["static_ips"].Strings()) to->set_ipv4_address(address);
    to->set_mac_address(endpoint["static_mac"].Str());
  }
  for (const JsonReader& port : body["portmappings"].Elements()) {
    int64_t range = std::clamp<int64_t>(port["range"].Int(1), 1, 65535);
    for (int64_t i = 0; i < range; ++i) {
      int64_t host_port = port["host_port"].Int();
      RETURN_IF_ERROR(builder.Port(port["host_ip"].Str(), host_port == 0 ? 0 : host_port + i,
                                   port["container_port"].Int() + i, port["protocol"].Str()));
    }
  }
  // Members have processes of their own, unless the pod shares that namespace.
  auto& shared = *builder.pod().mutable_linux()->mutable_security_context()->mutable_namespace_options();
  shared.set_pid(cri::CONTAINER);
  for (const std::string& space : body["shared_namespaces"].Strings()) {
    if (space == "pid") shared.set_pid(cri::POD);
  }
  if (body["pidns"]["nsmode"].Str() == "host") shared.set_pid(cri::NODE);
  if (body["ipcns"]["nsmode"].Str() == "host") shared.set_ipc(cri::NODE);
  std::string user = body["userns"]["nsmode"].Str();
  if (!user.empty() && user != "host" && user != "default")
    return Unimplemented("user namespaces of pods are not supported here");
  builder.pod().set_hostname(body["hostname"].Str());
  for (const auto& [key, value] : body["labels"].StringMap()) (*builder.pod().mutable_labels())[key] = value;
  for (const auto& [key, value] : body["sysctl"].StringMap())
    (*builder.pod().mutable_linux()->mutable_sysctls())[key] = value;
  for (const std::string& server : body["dns_server"].Strings())
    builder.pod().mutable_dns_config()->add_servers(server);
  for (const std::string& domain : body["dns_search"].Strings())
    builder.pod().mutable_dns_config()->add_searches(domain);
  for (const std::string& option : body["dns_option"].Strings())
    builder.pod().mutable_dns_config()->add_options(option);
  for (const std::string& line : body["hostadd"].Strings()) builder.pod_options().add_extra_hosts(line);
  if (std::string parent = body["cgroup_parent"].Str(); !parent.empty())
    builder.pod().mutable_linux()->set_cgroup_parent(parent);
  builder.pod_options().set_client_data(fmt::format("{{\"libpod\":{}}}", Trim(text).empty() ? "{}" : Trim(text)));
  control::CreatePodRequest request;
  *request.mutable_config() = builder.pod();
  *request.mutable_options() = builder.pod_options();
  return request;
}

Result<Reply> Create(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  Result<control::CreatePodRequest> call = ReadPod(document.root(), request.body);
  RETURN_IF_ERROR(document.status());
  RETURN_IF_ERROR(call.status());
  Result<control::CreatePodResponse> made = api.client().Call(*call);
  if (api.engine().standalone.Missing(made.status())) return NeedsDavit("a pod that is made before it runs");
  if (made.code() == StatusCode::kAlreadyExists) {
    return AlreadyExists(
        fmt::format("failed to make pod: adding pod to state: name \"{}\" is in use: pod already exists",
                    call->config().metadata().name()));
  }
  RETURN_IF_ERROR(made.status());
  return JsonReply(json::object{{"Id", made->pod_id()}}, 201);
}

// ---- Verbs ----

json::value Errors(const json::array& errors) {
  if (errors.empty()) return nullptr;
  return errors;
}

Reply PodReport(const control::Pod& pod, const std::string& raw, const json::array& errors) {
  return JsonReply(json::object{{"Errs", Errors(errors)}, {"Id", pod.id()}, {"RawInput", raw}},
                   errors.empty() ? 200 : 409);
}

Result<control::Pod> FindToChange(Api& api, const Request& request, std::string_view verb) {
  ASSIGN_OR_RETURN(control::Pod pod, api.engine().FindPod(request.Param("name")));
  RETURN_IF_ERROR(MayChangePod(api, pod, verb));
  if (!api.engine().standalone.MayAsk()) return NeedsDavit(fmt::format("{} a pod", verb));
  return pod;
}

Result<std::vector<Entry>> OwnMembers(Api& api, const control::Pod& pod) {
  ASSIGN_OR_RETURN(Members members, MembersOfAll(api));
  return std::move(members[pod.id()]);
}

Result<json::array> StartMembers(Api& api, const control::Pod& pod) {
  json::array errors;
  ASSIGN_OR_RETURN(std::vector<Entry> members, OwnMembers(api, pod));
  for (const Entry& entry : members) {
    if (entry.container.state() == control::STATE_RUNNING) continue;
    control::StartStandaloneRequest start;
    start.set_container(entry.container.id());
    Status status = api.client().Call(start).status();
    if (!status.ok())
      errors.emplace_back(fmt::format("starting container {}: {}", entry.container.id(), status.message()));
  }
  return errors;
}

Result<Reply> Start(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::Pod pod, FindToChange(api, request, "start"));
  ASSIGN_OR_RETURN(std::vector<Entry> members, OwnMembers(api, pod));
  if (members.empty() && !HasInfra(pod)) {
    return FailedPrecondition(fmt::format("no containers in pod {}: no such container", pod.name()));
  }
  if (PodStateName(pod, members) == "Running") return EmptyReply(304);
  control::StartPodRequest start;
  start.set_pod(pod.id());
  RETURN_IF_ERROR(api.client().Call(start).status());
  ASSIGN_OR_RETURN(json::array errors, StartMembers(api, pod));
  return PodReport(pod, request.Param("name"), errors);
}

Result<std::optional<int64_t>> ReadTimeout(const Request& request) {
  for (const char* key : {"t", "timeout"}) {
    if (request.Query(key).empty()) continue;
    ASSIGN_OR_RETURN(int64_t seconds, request.QueryInt(key, 10));
    return std::optional<int64_t>(seconds);
  }
  return std::optional<int64_t>();
}

Status StopPod(Api& api, const control::Pod& pod, std::optional<int64_t> seconds) {
  if (!pod.standalone()) {
    cri::StopPodSandboxRequest stop;
    stop.set_pod_sandbox_id(pod.id());
    return api.client().Call(stop).status();
  }
  control::StopPodRequest stop;
  stop.set_pod(pod.id());
  if (seconds) stop.set_timeout_seconds(*seconds);
  return api.client().Call(stop).status();
}

Result<Reply> Stop(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(std::optional<int64_t> seconds, ReadTimeout(request));
  ASSIGN_OR_RETURN(control::Pod pod, FindToChange(api, request, "stop"));
  if (!pod.ready()) return EmptyReply(304);
  RETURN_IF_ERROR(StopPod(api, pod, seconds));
  return PodReport(pod, request.Param("name"), {});
}

Result<Reply> Restart(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(std::optional<int64_t> seconds, ReadTimeout(request));
  ASSIGN_OR_RETURN(control::Pod pod, FindToChange(api, request, "restart"));
  if (!pod.standalone()) return KubernetesOwns("restart", pod.name());
  if (pod.ready()) RETURN_IF_ERROR(StopPod(api, pod, seconds));
  control::StartPodRequest start;
  start.set_pod(pod.id());
  RETURN_IF_ERROR(api.client().Call(start).status());
  ASSIGN_OR_RETURN(json::array errors, StartMembers(api, pod));
  return PodReport(pod, request.Param("name"), errors);
}

// A verb of each member that is in the state for it.
template <class Call>
Result<Reply> ForMembers(Api& api, const Request& request, std::string_view verb, control::StandaloneState state,
                         const Call& call) {
  ASSIGN_OR_RETURN(control::Pod pod, FindToChange(api, request, verb));
  ASSIGN_OR_RETURN(std::vector<Entry> members, OwnMembers(api, pod));
  json::array errors;
  for (const Entry& entry : members) {
    if (entry.container.state() != state) continue;
    Status status = call(entry);
    if (!status.ok())
      errors.emplace_back(fmt::format("{} container {}: {}", verb, entry.container.id(), status.message()));
  }
  return PodReport(pod, request.Param("name"), errors);
}

Result<Reply> Kill(Api& api, const Request& request) {
  return ForMembers(api, request, "kill", control::STATE_RUNNING, [&](const Entry& entry) {
    control::KillContainerRequest kill;
    kill.set_container(entry.container.id());
    kill.set_signal(request.Query("signal"));
    return api.client().Call(kill).status();
  });
}

Result<Reply> Pause(Api& api, const Request& request) {
  return ForMembers(api, request, "pause", control::STATE_RUNNING, [&](const Entry& entry) {
    control::PauseContainerRequest pause;
    pause.set_container(entry.container.id());
    return api.client().Call(pause).status();
  });
}

Result<Reply> Unpause(Api& api, const Request& request) {
  return ForMembers(api, request, "unpause", control::STATE_PAUSED, [&](const Entry& entry) {
    control::UnpauseContainerRequest unpause;
    unpause.set_container(entry.container.id());
    return api.client().Call(unpause).status();
  });
}

Result<Reply> Remove(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool force, request.QueryBool("force", false));
  ASSIGN_OR_RETURN(std::optional<int64_t> seconds, ReadTimeout(request));
  ASSIGN_OR_RETURN(control::Pod pod, FindToChange(api, request, "remove"));
  if (!pod.standalone()) {
    RETURN_IF_ERROR(StopPod(api, pod, seconds));
    cri::RemovePodSandboxRequest remove;
    remove.set_pod_sandbox_id(pod.id());
    RETURN_IF_ERROR(api.client().Call(remove).status());
    return JsonReply(json::object{{"Err", nullptr}, {"Id", pod.id()}, {"RemovedCtrs", json::object()}});
  }
  ASSIGN_OR_RETURN(std::vector<Entry> members, OwnMembers(api, pod));
  for (const Entry& entry : members) {
    if (!force && entry.container.state() == control::STATE_RUNNING) {
      return ErrorReply(500, fmt::format("pod {} has containers that are running: {}: removing pod containers",
                                         pod.name(), entry.name));
    }
  }
  control::RemovePodRequest remove;
  remove.set_pod(pod.id());
  // One whose infra alone runs may go: there is none.
  remove.set_force(true);
  if (seconds) remove.set_timeout_seconds(*seconds);
  ASSIGN_OR_RETURN(control::RemovePodResponse response, api.client().Call(remove));
  json::object removed;
  for (const std::string& id : response.removed_containers()) removed[id] = nullptr;
  return JsonReply(json::object{{"Err", nullptr}, {"Id", pod.id()}, {"RemovedCtrs", std::move(removed)}});
}

Result<Reply> Prune(Api& api, const Request&) {
  ASSIGN_OR_RETURN(std::vector<control::Pod> pods, api.engine().Pods());
  ASSIGN_OR_RETURN(Members members, MembersOfAll(api));
  json::array out;
  for (const control::Pod& pod : pods) {
    std::string_view state = PodStateName(pod, members[pod.id()]);
    if (!pod.standalone() || (state != "Exited" && state != "Created")) continue;
    control::RemovePodRequest remove;
    remove.set_pod(pod.id());
    Status status = api.client().Call(remove).status();
    out.push_back({{"Id", pod.id()}, {"Err", status.ok() ? json::value(nullptr) : json::value(status.message())}});
  }
  return JsonReply(out);
}

}  // namespace

Result<std::string> MakeLibpodPod(Api& api, const std::string& body) {
  Request request;
  request.libpod = true;
  request.body = body;
  ASSIGN_OR_RETURN(Reply reply, Create(api, request));
  ASSIGN_OR_RETURN(JsonDocument answer, JsonDocument::Parse(reply.body));
  return answer.root()["Id"].Str();
}

void AddPodRoutes(Router& router) {
  router.Add(Flavour::kLibpod, "GET", "/pods/json", List);
  router.Add(Flavour::kLibpod, "POST", "/pods/create", Create);
  router.Add(Flavour::kLibpod, "POST", "/pods/prune", Prune);
  router.Add(Flavour::kLibpod, "GET", "/pods/{name}/json", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/pods/{name}/exists", Exists);
  router.Add(Flavour::kLibpod, "POST", "/pods/{name}/start", Start);
  router.Add(Flavour::kLibpod, "POST", "/pods/{name}/stop", Stop);
  router.Add(Flavour::kLibpod, "POST", "/pods/{name}/restart", Restart);
  router.Add(Flavour::kLibpod, "POST", "/pods/{name}/kill", Kill);
  router.Add(Flavour::kLibpod, "POST", "/pods/{name}/pause", Pause);
  router.Add(Flavour::kLibpod, "POST", "/pods/{name}/unpause", Unpause);
  router.Add(Flavour::kLibpod, "DELETE", "/pods/{name}", Remove);
}

}  // namespace davit::api
