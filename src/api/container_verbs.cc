// What changes a container: start, stop, kill, restart, pause, rename, update, removal.
//
// The kubelet's containers are for looking at, unless --allow-kubernetes-changes says otherwise.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <condition_variable>
#include <mutex>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "base/time.h"
#include "client/client.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

constexpr int64_t kForEver = 365ll * 86400;
constexpr std::chrono::seconds kKillLimit{10};

bool Runs(const Entry& entry) {
  return entry.container.state() == control::STATE_RUNNING || entry.container.state() == control::STATE_PAUSED ||
         entry.container.state() == control::STATE_RESTARTING;
}

Result<Entry> FindToChange(Api& api, const Request& request, std::string_view verb) {
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  RETURN_IF_ERROR(Engine::MayChange(entry, api.options().allow_kubernetes_changes, verb));
  return entry;
}

// Whether davitd's own calls are for this one.
bool ByControl(Api& api, const Entry& entry) {
  return entry.container.standalone() && api.engine().standalone.MayAsk();
}

// Docker's clients look into the words of a 400 for the exit code: 127 for what is not there, 126 for what may not run.
Reply CannotStart(const Status& why) {
  std::string text = why.message();
  for (const char* words : {"No such file or directory", "Permission denied", "Is a directory"}) {
    size_t at = text.find(words);
    if (at != std::string::npos) text[at] = static_cast<char>(std::tolower(text[at]));
  }
  // So the runtime says of a directory; Docker's client knows these words alone.
  if (text.find("peration not permitted") != std::string::npos) text += ": permission denied";
  return ErrorReply(400, "failed to create task for container: " + text);
}

Result<Reply> Start(Api& api, const Request& request) {
  if (std::optional<Status> failed = api.failed_starts().Take(request.Param("name"))) return CannotStart(*failed);
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "start"));
  if (entry.container.state() == control::STATE_RUNNING) return EmptyReply(304);
  if (entry.container.state() == control::STATE_PAUSED) {
    return FailedPrecondition("cannot start a paused container, try unpause instead: container state improper");
  }
  if (ByControl(api, entry)) {
    control::StartStandaloneRequest start;
    start.set_container(entry.container.id());
    Result<control::StartStandaloneResponse> response = api.client().Call(start);
    if (!response.ok()) {
      // Docker's clients take 400 for "its program cannot be started" and end with 126 or 127.
      if (response.code() == StatusCode::kFailedPrecondition || response.code() == StatusCode::kInvalidArgument) {
        return CannotStart(response.status());
      }
      return response.status();
    }
    return EmptyReply(response->started() ? 204 : 304);
  }
  if (entry.container.state() == control::STATE_EXITED) return NeedsDavit("starting a container again");
  cri::StartContainerRequest start;
  start.set_container_id(entry.container.id());
  RETURN_IF_ERROR(api.client().Call(start).status());
  return EmptyReply(204);
}

struct StopHow {
  std::optional<int64_t> seconds;
  std::string signal;
};

// True when it was stopped, false when it did not run.
Result<bool> StopEntry(Api& api, const Entry& entry, const StopHow& how) {
  if (ByControl(api, entry)) {
    control::StopStandaloneRequest stop;
    stop.set_container(entry.container.id());
    if (how.seconds) stop.set_timeout_seconds(*how.seconds);
    stop.set_signal(how.signal);
    ASSIGN_OR_RETURN(control::StopStandaloneResponse response, api.client().Call(stop));
    return response.stopped();
  }
  if (!Runs(entry)) return false;
  cri::StopContainerRequest stop;
  stop.set_container_id(entry.container.id());
  int64_t seconds = how.seconds.value_or(10);
  stop.set_timeout(seconds < 0 ? kForEver : seconds);
  RETURN_IF_ERROR(api.client().Call(stop).status());
  return true;
}

Result<StopHow> ReadStop(const Request& request) {
  StopHow how;
  for (const char* key : {"timeout", "t"}) {
    if (!request.Query(key).empty()) {
      ASSIGN_OR_RETURN(int64_t seconds, request.QueryInt(key, 10));
      how.seconds = seconds;
    }
  }
  how.signal = request.Query("signal");
  return how;
}

Result<Reply> Stop(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(StopHow how, ReadStop(request));
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "stop"));
  ASSIGN_OR_RETURN(bool stopped, StopEntry(api, entry, how));
  return EmptyReply(stopped ? 204 : 304);
}

Status NotRunning(const Entry& entry, std::string_view verb) {
  return FailedPrecondition(
      fmt::format("cannot {} container: {}: container {} is not running: container state improper", verb, entry.name,
                  entry.container.id().substr(0, 12)));
}

// A kill that nobody can catch answers when it has worked, as Docker's does: a removal may follow at once.
void WaitForEnd(Api& api, const std::string& id) {
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    bool over = false;
  };
  auto shared = std::make_shared<Shared>();
  auto done = [shared] {
    {
      std::lock_guard lock(shared->mutex);
      shared->over = true;
    }
    shared->changed.notify_all();
  };
  control::WaitContainerRequest wait;
  wait.set_container(id);
  wait.set_condition(control::WAIT_NOT_RUNNING);
  auto subscription = api.client().Wait(
      wait,
      [done](const control::WaitContainerResponse& message) {
        if (message.done()) done();
      },
      [done](const Status&) { done(); });
  std::unique_lock lock(shared->mutex);
  shared->changed.wait_for(lock, kKillLimit, [&] { return shared->over; });
}

Result<Reply> Kill(Api& api, const Request& request) {
  std::string signal = request.Query("signal");
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "kill"));
  if (!Runs(entry)) return NotRunning(entry, "kill");
  if (ByControl(api, entry)) {
    control::KillContainerRequest kill;
    kill.set_container(entry.container.id());
    kill.set_signal(signal);
    RETURN_IF_ERROR(api.client().Call(kill).status());
    if (signal.empty() || signal == "KILL" || signal == "SIGKILL" || signal == "9")
      WaitForEnd(api, entry.container.id());
    return EmptyReply(204);
  }
  if (!signal.empty() && signal != "KILL" && signal != "SIGKILL" && signal != "9") {
    return NeedsDavit("a signal other than KILL");
  }
  ASSIGN_OR_RETURN(bool stopped, StopEntry(api, entry, StopHow{0, ""}));
  (void)stopped;
  return EmptyReply(204);
}

Result<Reply> Restart(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(StopHow how, ReadStop(request));
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "restart"));
  if (!ByControl(api, entry)) return NeedsDavit("restart");
  ASSIGN_OR_RETURN(bool stopped, StopEntry(api, entry, how));
  (void)stopped;
  control::StartStandaloneRequest start;
  start.set_container(entry.container.id());
  RETURN_IF_ERROR(api.client().Call(start).status());
  return EmptyReply(204);
}

Result<Reply> Pause(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "pause"));
  if (!Runs(entry)) return NotRunning(entry, "pause");
  control::PauseContainerRequest pause;
  pause.set_container(entry.container.id());
  Result<control::PauseContainerResponse> response = api.client().Call(pause);
  if (api.engine().standalone.Missing(response.status())) return NeedsDavit("pause");
  RETURN_IF_ERROR(response.status());
  return EmptyReply(204);
}

Result<Reply> Unpause(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "unpause"));
  control::UnpauseContainerRequest unpause;
  unpause.set_container(entry.container.id());
  Result<control::UnpauseContainerResponse> response = api.client().Call(unpause);
  if (api.engine().standalone.Missing(response.status())) return NeedsDavit("unpause");
  RETURN_IF_ERROR(response.status());
  return EmptyReply(204);
}

Result<Reply> Rename(Api& api, const Request& request) {
  std::string name = request.Query("name");
  if (name.empty()) return InvalidArgument("neither old nor new names may be empty");
  if (name.starts_with("/")) name.erase(0, 1);
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "rename"));
  control::RenameContainerRequest rename;
  rename.set_container(entry.container.id());
  rename.set_name(name);
  Result<control::RenameContainerResponse> response = api.client().Call(rename);
  if (api.engine().standalone.Missing(response.status())) return NeedsDavit("rename");
  RETURN_IF_ERROR(response.status());
  return EmptyReply(204);
}

void ReadDockerLimits(const JsonReader& body, cri::LinuxContainerResources& to) {
  to.set_cpu_shares(body["CpuShares"].Int());
  to.set_cpu_period(body["CpuPeriod"].Int());
  to.set_cpu_quota(body["CpuQuota"].Int());
  if (int64_t nano = body["NanoCpus"].Int(); nano > 0) {
    to.set_cpu_period(100000);
    to.set_cpu_quota(nano / 10000);
  }
  to.set_cpuset_cpus(body["CpusetCpus"].Str());
  to.set_cpuset_mems(body["CpusetMems"].Str());
  to.set_memory_limit_in_bytes(body["Memory"].Int());
  to.set_memory_swap_limit_in_bytes(body["MemorySwap"].Int());
}

// Podman's: OCI's LinuxResources.
void ReadOciLimits(const JsonReader& body, cri::LinuxContainerResources& to) {
  to.set_cpu_shares(body["cpu"]["shares"].Int());
  to.set_cpu_period(body["cpu"]["period"].Int());
  to.set_cpu_quota(body["cpu"]["quota"].Int());
  to.set_cpuset_cpus(body["cpu"]["cpus"].Str());
  to.set_cpuset_mems(body["cpu"]["mems"].Str());
  to.set_memory_limit_in_bytes(body["memory"]["limit"].Int());
  to.set_memory_swap_limit_in_bytes(body["memory"]["swap"].Int());
}

Result<Reply> Update(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  JsonReader body = document.root();
  control::UpdateStandaloneRequest update;
  if (request.libpod) {
    ReadOciLimits(body, *update.mutable_resources());
    if (std::string policy = request.Query("restartPolicy"); !policy.empty())
      update.mutable_restart()->set_name(policy);
  } else {
    ReadDockerLimits(body, *update.mutable_resources());
    if (std::string policy = body["RestartPolicy"]["Name"].Str(); !policy.empty()) {
      update.mutable_restart()->set_name(policy);
      update.mutable_restart()->set_maximum_retries(
          static_cast<uint32_t>(std::max<int64_t>(0, body["RestartPolicy"]["MaximumRetryCount"].Int())));
    }
  }
  RETURN_IF_ERROR(document.status());
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "update"));
  if (ByControl(api, entry)) {
    update.set_container(entry.container.id());
    RETURN_IF_ERROR(api.client().Call(update).status());
  } else {
    if (update.has_restart()) return NeedsDavit("a restart policy");
    cri::UpdateContainerResourcesRequest limits;
    limits.set_container_id(entry.container.id());
    *limits.mutable_linux() = update.resources();
    RETURN_IF_ERROR(api.client().Call(limits).status());
  }
  if (request.libpod) return JsonReply(json::value(entry.container.id()), 201);
  return JsonReply(json::object{{"Warnings", json::array()}});
}

// ---- Removal ----

struct RemoveHow {
  bool force = false;
  bool volumes = false;
};

Status RemoveEntry(Api& api, const Entry& entry, const RemoveHow& how) {
  if (Runs(entry) && !how.force) {
    return FailedPrecondition(
        fmt::format("cannot remove container \"{}\": container is running: stop the container before removing or force "
                    "remove: container state improper",
                    entry.name));
  }
  if (ByControl(api, entry)) {
    control::RemoveStandaloneRequest remove;
    remove.set_container(entry.container.id());
    remove.set_force(how.force);
    remove.set_volumes(how.volumes);
    return api.client().Call(remove).status();
  }
  if (Runs(entry)) {
    ASSIGN_OR_RETURN(bool stopped, StopEntry(api, entry, StopHow{0, ""}));
    (void)stopped;
  }
  cri::RemoveContainerRequest remove;
  remove.set_container_id(entry.container.id());
  RETURN_IF_ERROR(api.client().Call(remove).status());
  if (!entry.pod.implicit()) return {};
  cri::StopPodSandboxRequest stop_pod;
  stop_pod.set_pod_sandbox_id(entry.pod.id());
  RETURN_IF_ERROR(api.client().Call(stop_pod).status());
  cri::RemovePodSandboxRequest remove_pod;
  remove_pod.set_pod_sandbox_id(entry.pod.id());
  return api.client().Call(remove_pod).status();
}

Result<Reply> Remove(Api& api, const Request& request) {
  RemoveHow how;
  ASSIGN_OR_RETURN(how.force, request.QueryBool("force", false));
  ASSIGN_OR_RETURN(how.volumes, request.QueryBool(request.libpod ? "volumes" : "v", false));
  ASSIGN_OR_RETURN(bool ignore, request.QueryBool("ignore", false));
  ASSIGN_OR_RETURN(bool link, request.QueryBool("link", false));
  if (link && !request.libpod) return Unimplemented("links between containers are not supported: use a network");
  const std::string& name = request.Param("name");
  Result<Entry> entry = FindToChange(api, request, "remove");
  if (entry.code() == StatusCode::kNotFound && request.libpod) {
    Result<std::vector<control::Pod>> pods = api.engine().Pods();
    for (const control::Pod& pod : pods.ok() ? *pods : std::vector<control::Pod>()) {
      if (InfraId(pod.id()) != name && pod.id().substr(0, 12) + "-infra" != name) continue;
      return FailedPrecondition(
          fmt::format("container {} is the infra container of pod {} and cannot be removed without removing the pod",
                      name, pod.name()));
    }
    if (ignore) return JsonReply(json::array());
  }
  RETURN_IF_ERROR(entry.status());
  Status removed = RemoveEntry(api, *entry, how);
  if (removed.code() == StatusCode::kNotFound && how.force) removed = Status();  // it went by itself: --rm
  RETURN_IF_ERROR(removed);
  if (!request.libpod) return EmptyReply(204);
  return JsonReply(json::array{{{"Id", entry->container.id()}, {"RawInput", name}, {"Err", nullptr}}});
}

Result<Reply> Prune(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, {"until", "label", "label!"}));
  int64_t until = WallNanos();
  for (const std::string& text : filters.Values("until")) {
    ASSIGN_OR_RETURN(until, ParseTimestamp(text, "until"));
  }
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  json::array docker;
  json::array libpod;
  for (const Entry& entry : entries) {
    bool idle = entry.container.state() == control::STATE_CREATED || entry.container.state() == control::STATE_EXITED ||
                entry.container.state() == control::STATE_DEAD;
    // Never the kubelet's, whatever the setting: it takes its own away. Nor a pod's, which goes with it.
    if (!idle || !entry.container.standalone() || !entry.pod.implicit()) continue;
    if (entry.container.created_at() >= until || !filters.Labels(entry.container.config().labels())) continue;
    Status removed = RemoveEntry(api, entry, RemoveHow{});
    if (removed.ok()) docker.emplace_back(entry.container.id());
    libpod.push_back({{"Id", entry.container.id()},
                      {"Err", removed.ok() ? json::value(nullptr) : json::value(removed.message())},
                      {"Size", 0}});
  }
  if (request.libpod) return JsonReply(libpod);
  return JsonReply(json::object{{"ContainersDeleted", std::move(docker)}, {"SpaceReclaimed", 0}});
}

Result<Reply> Init(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, FindToChange(api, request, "initialize"));
  control::PrepareContainerRequest prepare;
  prepare.set_container(entry.container.id());
  Result<control::PrepareContainerResponse> response = api.client().Call(prepare);
  if (api.engine().standalone.Missing(response.status())) return NeedsDavit("init");
  RETURN_IF_ERROR(response.status());
  return EmptyReply(204);
}

Result<Reply> CheckHealth(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  control::CheckHealthRequest check;
  check.set_container(entry.container.id());
  Result<control::CheckHealthResponse> response = api.client().Call(check);
  if (api.engine().standalone.Missing(response.status())) return NeedsDavit("a health check");
  RETURN_IF_ERROR(response.status());
  json::array log;
  for (const control::Health::Probe& probe : response->health().log()) {
    log.push_back({{"Start", GoTime(probe.start())},
                   {"End", GoTime(probe.end())},
                   {"ExitCode", probe.exit_code()},
                   {"Output", probe.output()}});
  }
  return JsonReply(json::object{{"Status", response->health().status()},
                                {"FailingStreak", response->health().failing_streak()},
                                {"Log", std::move(log)}});
}

}  // namespace

void AddContainerVerbRoutes(Router& router) {
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/start", Start);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/stop", Stop);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/kill", Kill);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/restart", Restart);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/pause", Pause);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/unpause", Unpause);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/rename", Rename);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/update", Update);
  router.Add(Flavour::kBoth, "DELETE", "/containers/{name}", Remove);
  router.Add(Flavour::kBoth, "POST", "/containers/prune", Prune);
  router.Add(Flavour::kLibpod, "POST", "/containers/{name}/init", Init);
  router.Add(Flavour::kLibpod, "GET", "/containers/{name}/healthcheck", CheckHealth);
}

}  // namespace davit::api
