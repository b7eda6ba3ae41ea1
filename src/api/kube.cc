// Kubernetes' files: play them, take down what they made, write them.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/json_out.h"
#include "api/kube_spec.h"
#include "api/make.h"
#include "base/strings.h"
#include "base/time.h"
#include "client/client.h"
#include "oci/json.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

Status StartOne(Api& api, const std::string& id) {
  control::StartStandaloneRequest start;
  start.set_container(id);
  return api.client().Call(start).status();
}

// Until it has ended; kFailedPrecondition when not with 0.
Status WaitForInit(Api& api, const std::string& name, const std::string& id) {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<int> code;
  std::optional<Status> end;
  control::WaitContainerRequest wait;
  wait.set_container(id);
  wait.set_condition(control::WAIT_EXITED);
  auto subscription = api.client().Wait(
      wait,
      [&](const control::WaitContainerResponse& message) {
        std::lock_guard lock(mutex);
        if (message.done()) code = message.exit_code();
        changed.notify_all();
      },
      [&](const Status& status) {
        std::lock_guard lock(mutex);
        end = status;
        changed.notify_all();
      });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return code || end; });
  std::optional<int> got = code;
  Status ended = end.value_or(Status());
  lock.unlock();
  subscription.reset();
  if (!got) return ended.ok() ? Internal("the wait ended without an answer") : ended;
  if (*got != 0) return FailedPrecondition(fmt::format("init container {} ended with {}", name, *got));
  return {};
}

Status RemovePod(Api& api, const std::string& id) {
  control::RemovePodRequest remove;
  remove.set_pod(id);
  remove.set_force(true);
  return api.client().Call(remove).status();
}

// One pod, whole or not at all.
Result<json::object> PlayPod(Api& api, KubePod& pod, bool start) {
  for (std::vector<KubeContainer>* list : {&pod.init, &pod.containers}) {
    for (const KubeContainer& container : *list) {
      RETURN_IF_ERROR(EnsureImage(api, container.image, container.always_pull));
    }
  }
  ASSIGN_OR_RETURN(std::string id, MakeLibpodPod(api, json::serialize(pod.spec)));
  json::array containers;
  json::array init;
  json::array errors;
  Status failed;
  auto make = [&](KubeContainer& container) -> Result<std::string> {
    container.spec["pod"] = id;
    return MakeLibpodContainer(api, json::serialize(container.spec));
  };
  for (KubeContainer& container : pod.init) {
    Result<std::string> made = make(container);
    failed = made.status();
    if (failed.ok() && start) failed = StartOne(api, *made);
    if (failed.ok() && start) failed = WaitForInit(api, container.spec["name"].get_string().c_str(), *made);
    if (!failed.ok()) break;
    init.emplace_back(*made);
  }
  std::vector<std::string> ids;
  for (KubeContainer& container : pod.containers) {
    if (!failed.ok()) break;
    Result<std::string> made = make(container);
    failed = made.status();
    if (made.ok()) ids.push_back(*made);
  }
  if (!failed.ok()) return failed.Annotate("play " + pod.name).WithUndoError(RemovePod(api, id));
  for (const std::string& container : ids) {
    containers.emplace_back(container);
    if (!start) continue;
    Status status = StartOne(api, container);
    if (!status.ok()) errors.emplace_back(status.message());
  }
  auto or_null = [](json::array list) { return list.empty() ? json::value(nullptr) : json::value(std::move(list)); };
  return json::object{{"ID", id},
                      {"Containers", std::move(containers)},
                      {"InitContainers", or_null(std::move(init))},
                      {"Logs", nullptr},
                      {"ContainerErrors", or_null(std::move(errors))}};
}

json::object Report() {
  return {
      {"Pods", nullptr}, {"Volumes", nullptr}, {"StopReport", nullptr}, {"RmReport", nullptr}, {"Secrets", nullptr}};
}

Result<Reply> Play(Api& api, const Request& request) {
  if (!api.engine().HasStandalone()) return NeedsDavit("play kube");
  ASSIGN_OR_RETURN(bool start, request.QueryBool("start", true));
  ASSIGN_OR_RETURN(std::vector<KubePod> pods, ReadKube(request.body));
  json::array made;
  for (KubePod& pod : pods) {
    ASSIGN_OR_RETURN(json::object one, PlayPod(api, pod, start));
    made.push_back(std::move(one));
  }
  json::object report = Report();
  report["Pods"] = std::move(made);
  return JsonReply(report);
}

Result<Reply> Down(Api& api, const Request& request) {
  if (!api.engine().HasStandalone()) return NeedsDavit("play kube");
  ASSIGN_OR_RETURN(std::vector<KubePod> pods, ReadKube(request.body));
  json::array stopped;
  json::array removed;
  for (const KubePod& wanted : pods) {
    Result<control::Pod> pod = api.engine().FindPod(wanted.name);
    if (pod.code() == StatusCode::kNotFound) continue;
    RETURN_IF_ERROR(pod.status());
    if (!pod->standalone()) return KubernetesOwns("take down", pod->name());
    control::StopPodRequest stop;
    stop.set_pod(pod->id());
    Status status = api.client().Call(stop).status();
    json::value errors = nullptr;
    if (!status.ok()) errors = json::array{status.message()};
    stopped.push_back({{"Errs", errors}, {"Id", pod->id()}});
    status = RemovePod(api, pod->id());
    removed.push_back({{"Err", status.ok() ? json::value(nullptr) : json::value(status.message())}, {"Id", pod->id()}});
  }
  json::object report = Report();
  report["StopReport"] = std::move(stopped);
  report["RmReport"] = std::move(removed);
  return JsonReply(report);
}

// ---- generate ----

// Every JSON string is a YAML one; plain words stay plain for people to read.
std::string Scalar(const std::string& text) {
  bool plain =
      !text.empty() && text.size() < 200 && std::isalpha(static_cast<unsigned char>(text[0])) != 0 &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == std::string::npos;
  for (const char* word :
       {"true", "false", "null", "yes", "no", "on", "off", "True", "False", "Null", "Yes", "No", "On", "Off"}) {
    plain = plain && text != word;
  }
  return plain ? text : oci::QuoteJson(text);
}

void WriteWords(std::string& out, std::string_view indent, std::string_view key,
                const ::google::protobuf::RepeatedPtrField<std::string>& words) {
  if (words.empty()) return;
  out += fmt::format("{}{}:\n", indent, key);
  for (const std::string& word : words) out += fmt::format("{}- {}\n", indent, Scalar(word));
}

void WriteContainer(std::string& out, const Entry& entry, const std::string& name, const control::Pod& pod) {
  const cri::ContainerConfig& config = entry.container.config();
  out += fmt::format("  - name: {}\n    image: {}\n", Scalar(name), Scalar(entry.container.image()));
  WriteWords(out, "    ", "command", config.command());
  WriteWords(out, "    ", "args", config.args());
  if (config.envs_size() > 0) {
    out += "    env:\n";
    for (const cri::KeyValue& env : config.envs()) {
      out += fmt::format("    - name: {}\n      value: {}\n", Scalar(env.key()), oci::QuoteJson(env.value()));
    }
  }
  if (!config.working_dir().empty()) out += fmt::format("    workingDir: {}\n", Scalar(config.working_dir()));
  if (config.tty()) out += "    tty: true\n";
  if (config.stdin()) out += "    stdin: true\n";
  if (pod.config().port_mappings_size() > 0) {
    out += "    ports:\n";
    for (const cri::PortMapping& port : pod.config().port_mappings()) {
      out += fmt::format("    - containerPort: {}\n      hostPort: {}\n", port.container_port(), port.host_port());
      if (port.protocol() == cri::UDP) out += "      protocol: UDP\n";
    }
  }
  int number = 0;
  if (config.mounts_size() + entry.container.volumes_size() > 0) out += "    volumeMounts:\n";
  for (const cri::Mount& mount : config.mounts()) {
    out += fmt::format("    - name: {}-host-{}\n      mountPath: {}\n", name, number++, Scalar(mount.container_path()));
    if (mount.readonly()) out += "      readOnly: true\n";
  }
  for (const control::NamedVolume& volume : entry.container.volumes()) {
    out += fmt::format("    - name: {}-pvc-{}\n      mountPath: {}\n", name, number++, Scalar(volume.container_path()));
  }
}

void WriteVolumes(std::string& out, const Entry& entry, const std::string& name) {
  int number = 0;
  for (const cri::Mount& mount : entry.container.config().mounts()) {
    out +=
        fmt::format("  - name: {}-host-{}\n    hostPath:\n      path: {}\n", name, number++, Scalar(mount.host_path()));
  }
  for (const control::NamedVolume& volume : entry.container.volumes()) {
    out += fmt::format("  - name: {}-pvc-{}\n    persistentVolumeClaim:\n      claimName: {}\n", name, number++,
                       Scalar(volume.name()));
  }
}

std::string WritePod(const std::string& name, const control::Pod& pod, const std::vector<Entry>& members) {
  std::string out = fmt::format("apiVersion: v1\nkind: Pod\nmetadata:\n  creationTimestamp: {}\n",
                                oci::QuoteJson(GoTime(pod.created_at())));
  out += "  labels:\n";
  if (pod.config().labels().empty()) out += fmt::format("    app: {}\n", Scalar(name));
  for (const auto& [key, value] : pod.config().labels()) out += fmt::format("    {}: {}\n", Scalar(key), Scalar(value));
  out += fmt::format("  name: {}\nspec:\n  containers:\n", Scalar(name));
  std::string volumes;
  bool first = true;
  for (const Entry& entry : members) {
    std::string own = entry.name.starts_with(name + "-") ? entry.name.substr(name.size() + 1) : entry.name;
    WriteContainer(out, entry, own, first ? pod : control::Pod());
    WriteVolumes(volumes, entry, own);
    first = false;
  }
  if (!volumes.empty()) out += "  volumes:\n" + volumes;
  if (pod.config().linux().security_context().namespace_options().network() == cri::NODE)
    out += "  hostNetwork: true\n";
  return out;
}

Result<Reply> Generate(Api& api, const Request& request) {
  std::vector<std::string> names = request.QueryAll("names");
  if (!request.Param("name").empty()) names.push_back(request.Param("name"));
  if (names.empty()) return InvalidArgument("names: a container or pod has to be named");
  ASSIGN_OR_RETURN(bool service, request.QueryBool("service", false));
  if (service) return Unimplemented("service is not supported: only pods are written");
  ASSIGN_OR_RETURN(std::vector<Entry> all, api.engine().Containers(true));
  std::string out = "# Written by davit-api; kubectl apply -f takes it.\n";
  bool first = true;
  for (const std::string& name : names) {
    if (!first) out += "---\n";
    first = false;
    Result<control::Pod> pod = api.engine().FindPod(name);
    std::vector<Entry> members;
    if (pod.ok()) {
      for (const Entry& entry : all) {
        if (entry.container.pod_id() == pod->id()) members.push_back(entry);
      }
      out += WritePod(pod->name(), *pod, members);
      continue;
    }
    ASSIGN_OR_RETURN(Entry entry, api.engine().Find(true, name));
    out += WritePod(entry.name + "-pod", entry.pod, {entry});
  }
  Reply reply;
  reply.content_type = "application/x-tar";  // Podman's own, and its clients ask for nothing else
  reply.body = out;
  return reply;
}

}  // namespace

void AddKubeRoutes(Router& router) {
  RouteOptions slow{false, true};
  for (const char* path : {"/play/kube", "/kube/play"}) {
    router.Add(Flavour::kLibpod, "POST", path, Play, slow);
    router.Add(Flavour::kLibpod, "DELETE", path, Down, slow);
  }
  router.Add(Flavour::kLibpod, "GET", "/generate/kube", Generate);
  router.Add(Flavour::kLibpod, "GET", "/generate/{name}/kube", Generate);
}

}  // namespace davit::api
