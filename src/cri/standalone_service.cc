#include "cri/standalone_service.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "base/strings.h"
#include "base/time.h"
#include "container/runtime_spec.h"
#include "cri/check_requests.h"
#include "cri/convert_standalone.h"
#include "cri/pulled_stream.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

namespace control = ::davit::control::v1;

// A year is "for ever", and does not overflow a clock; negative is that too.
std::optional<std::chrono::seconds> Grace(bool given, int64_t seconds) {
  constexpr int64_t kYear = 31'536'000;
  if (!given) return std::nullopt;
  return std::chrono::seconds(seconds < 0 ? kYear : std::min(seconds, kYear));
}

// "" is 0.
Result<int> Signal(const std::string& text) {
  if (text.empty()) return 0;
  return container::ParseSignal(text);
}

void Fill(const engine::Health& in, control::Health* out) {
  out->set_status(in.status);
  out->set_failing_streak(in.failing_streak);
  for (const engine::Health::Probe& probe : in.log) {
    control::Health::Probe* item = out->add_log();
    item->set_start(probe.start);
    item->set_end(probe.end);
    item->set_exit_code(probe.exit_code);
    item->set_output(Printable(probe.output, 4096));
  }
}

}  // namespace

// ---- Pods ----

StandaloneService::Reactor* StandaloneService::CreatePod(Context* context, const control::CreatePodRequest* request,
                                                         control::CreatePodResponse* response) {
  if (request->config().metadata().name().empty()) {
    return Answer(context, InvalidArgument("config.metadata.name is empty"));
  }
  Result<pod::PodSpec> spec = ToStandalonePodSpec(request->config(), request->options(), request->runtime_handler());
  if (!spec.ok()) return Answer(context, spec.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.DefinePod(std::move(*spec),
                    FinishWith<PodId>(reactor, [response](const PodId& id) { response->set_pod_id(id.str()); }));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::StartPod(Context* context, const control::StartPodRequest* request,
                                                        control::StartPodResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.StartPod(request->pod(),
                   FinishWith<bool>(reactor, [response](bool started) { response->set_started(started); }));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::StopPod(Context* context, const control::StopPodRequest* request,
                                                       control::StopPodResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.StopStandalonePod(request->pod(), Grace(request->has_timeout_seconds(), request->timeout_seconds()),
                            FinishWith<bool>(reactor, [response](bool stopped) { response->set_stopped(stopped); }));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::RemovePod(Context* context, const control::RemovePodRequest* request,
                                                         control::RemovePodResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.RemoveStandalonePod(
      request->pod(), request->force(),
      FinishWith<std::vector<std::string>>(reactor, [response](const std::vector<std::string>& removed) {
        for (const std::string& id : removed) response->add_removed_containers(id);
      }));
  return reactor;
}

namespace {

// With the ids of its networks, which its record does not have.
control::Pod WithNetworkIds(const engine::Engine& engine, const pod::PodRecord& record) {
  control::Pod out = ToPod(record);
  std::set<std::string> names;
  for (const pod::NetworkEndpoint& asked : record.spec.networks) names.insert(asked.network);
  for (const pod::AttachedEndpoint& endpoint : record.endpoints) names.insert(endpoint.network);
  const bool plain = record.spec.standalone && !record.spec.no_network && names.empty() &&
                     record.spec.network != pod::NamespaceMode::kNode;
  if (plain) names.insert("");
  for (const std::string& name : names) {
    Result<std::vector<engine::NetworkView>> found = engine.Networks({name});
    if (!found.ok() || found->size() != 1) continue;
    (*out.mutable_network_ids())[found->front().network->name] = found->front().network->id;
  }
  return out;
}

}  // namespace

StandaloneService::Reactor* StandaloneService::ListPods(Context* context, const control::ListPodsRequest* request,
                                                        control::ListPodsResponse* response) {
  const engine::SnapshotPtr view = engine_.View();
  for (const std::string& name : request->pods()) {
    Result<engine::PodPtr> pod = view->FindNamedPod(name);
    if (!pod.ok()) return Answer(context, pod.status());
    *response->add_pods() = WithNetworkIds(engine_, **pod);
  }
  if (!request->pods().empty()) return Answer(context, {});
  for (const auto& [id, pod] : view->pods()) {
    if (engine::Listed(*pod)) *response->add_pods() = WithNetworkIds(engine_, *pod);
  }
  return Answer(context, {});
}

// ---- Containers ----

StandaloneService::Reactor* StandaloneService::CreateContainer(Context* context,
                                                               const control::CreateContainerRequest* request,
                                                               control::CreateContainerResponse* response) {
  if (!request->has_config()) return Answer(context, InvalidArgument("config is missing"));
  Result<engine::ContainerDefinition> definition = ToDefinition(*request);
  if (!definition.ok()) return Answer(context, definition.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.DefineContainer(std::move(*definition), FinishWith<engine::DefinedContainer>(
                                                      reactor, [response](const engine::DefinedContainer& made) {
                                                        response->set_container_id(made.id.str());
                                                        response->set_pod_id(made.pod.str());
                                                      }));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::PrepareContainer(Context* context,
                                                                const control::PrepareContainerRequest* request,
                                                                control::PrepareContainerResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.PrepareContainer(request->container(), FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::StartContainer(Context* context,
                                                              const control::StartStandaloneRequest* request,
                                                              control::StartStandaloneResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.StartStandalone(request->container(),
                          FinishWith<bool>(reactor, [response](bool started) { response->set_started(started); }));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::StopContainer(Context* context,
                                                             const control::StopStandaloneRequest* request,
                                                             control::StopStandaloneResponse* response) {
  Result<int> signal = Signal(request->signal());
  if (!signal.ok()) return Answer(context, signal.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.StopStandalone(request->container(), Grace(request->has_timeout_seconds(), request->timeout_seconds()),
                         *signal,
                         FinishWith<bool>(reactor, [response](bool stopped) { response->set_stopped(stopped); }));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::KillContainer(Context* context,
                                                             const control::KillContainerRequest* request,
                                                             control::KillContainerResponse*) {
  Result<int> signal = Signal(request->signal().empty() ? "SIGKILL" : request->signal());
  if (!signal.ok()) return Answer(context, signal.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.KillContainer(request->container(), *signal, FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::PauseContainer(Context* context,
                                                              const control::PauseContainerRequest* request,
                                                              control::PauseContainerResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.PauseContainer(request->container(), /*pause=*/true, FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::UnpauseContainer(Context* context,
                                                                const control::UnpauseContainerRequest* request,
                                                                control::UnpauseContainerResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.PauseContainer(request->container(), /*pause=*/false, FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::RenameContainer(Context* context,
                                                               const control::RenameContainerRequest* request,
                                                               control::RenameContainerResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.RenameContainer(request->container(), request->name(), FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::UpdateContainer(Context* context,
                                                               const control::UpdateStandaloneRequest* request,
                                                               control::UpdateStandaloneResponse*) {
  std::optional<sys::Resources> resources;
  if (request->has_resources()) resources = ToResources(request->resources());
  std::optional<container::RestartPolicy> restart;
  if (request->has_restart()) restart = ToRestartPolicy(request->restart());
  Reactor* reactor = context->DefaultReactor();
  engine_.UpdateStandalone(request->container(), resources, restart, FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::RemoveContainer(Context* context,
                                                               const control::RemoveStandaloneRequest* request,
                                                               control::RemoveStandaloneResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.RemoveStandalone(request->container(), request->force(), request->volumes(), FinishEmpty(reactor));
  return reactor;
}

StandaloneService::Reactor* StandaloneService::ListContainers(Context* context,
                                                              const control::ListContainersAllRequest* request,
                                                              control::ListContainersAllResponse* response) {
  const engine::SnapshotPtr view = engine_.View();
  std::set<PodId> pods;
  auto add = [&](const container::ContainerRecord& record) {
    control::Container* item = response->add_containers();
    *item = ToStandalone(record, request->full());
    if (record.spec.standalone && record.spec.standalone->health)
      Fill(engine_.HealthOf(record.id), item->mutable_health());
    if (request->full()) item->set_writable_directory(engine_.WritableDirectory(record.id));
    pods.insert(record.pod);
  };
  for (const std::string& name : request->containers()) {
    Result<engine::ContainerPtr> record = view->FindNamedContainer(name);
    if (!record.ok()) return Answer(context, record.status());
    add(**record);
  }
  if (request->containers().empty()) {
    for (const auto& [id, record] : view->containers()) {
      if (engine::Listed(*record)) add(*record);
    }
  }
  for (const PodId& id : pods) {
    auto pod = view->pods().find(id);
    if (pod != view->pods().end()) *response->add_pods() = WithNetworkIds(engine_, *pod->second);
  }
  return Answer(context, {});
}

StandaloneService::Reactor* StandaloneService::Exec(Context* context, const control::ExecStandaloneRequest* request,
                                                    control::ExecStandaloneResponse* response) {
  ::davit::Status good = CheckCommand(request->command());
  if (good.ok()) good = CheckStreams(request->tty(), request->stdin(), request->stdout(), request->stderr());
  if (!good.ok()) return Answer(context, good);
  stream::ExecRequest exec;
  exec.command = {request->command().begin(), request->command().end()};
  exec.user = request->user();
  exec.envs = {request->envs().begin(), request->envs().end()};
  exec.working_dir = request->working_dir();
  exec.privileged = request->privileged();
  exec.terminal = request->tty();
  exec.want_stdin = request->stdin();
  exec.want_stdout = request->stdout();
  exec.want_stderr = request->stderr();
  Result<std::string> url = engine_.ExecAs(request->container(), std::move(exec));
  if (url.ok()) response->set_url(*url);
  return Answer(context, url.status());
}

StandaloneService::Reactor* StandaloneService::ListProcesses(Context* context,
                                                             const control::ListProcessesRequest* request,
                                                             control::ListProcessesResponse* response) {
  Result<std::vector<int64_t>> pids = engine_.Processes(request->container());
  if (!pids.ok()) return Answer(context, pids.status());
  for (int64_t pid : *pids) response->add_pids(pid);
  return Answer(context, {});
}

StandaloneService::Reactor* StandaloneService::CheckHealth(Context* context, const control::CheckHealthRequest* request,
                                                           control::CheckHealthResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.CheckHealth(request->container(), FinishWith<engine::Health>(reactor, [response](const engine::Health& now) {
                        Fill(now, response->mutable_health());
                      }));
  return reactor;
}

// ---- Streams ----

StandaloneService::Stream<control::WaitContainerResponse>* StandaloneService::WaitContainer(
    Context*, const control::WaitContainerRequest* request) {
  using Waiting = PulledStream<control::WaitContainerResponse>;
  if (!control::WaitCondition_IsValid(request->condition())) {
    return new RefusedStream<control::WaitContainerResponse>(InvalidArgument("condition is unknown"));
  }
  // From the waiter's call, on any thread, to the stream's.
  struct Outcome {
    std::mutex mutex;
    std::optional<engine::WaitOutcome> outcome;
  };
  auto stream = std::make_shared<Waiting>();
  auto shared = std::make_shared<Outcome>();
  std::weak_ptr<Waiting> weak = stream;
  Result<engine::Waits::Token> token =
      engine_.WaitContainer(request->container(), static_cast<engine::WaitCondition>(request->condition()),
                            [weak, shared](const engine::WaitOutcome& outcome) {
                              {
                                std::lock_guard lock(shared->mutex);
                                shared->outcome = outcome;
                              }
                              if (std::shared_ptr<Waiting> alive = weak.lock()) alive->Wake();
                            });
  if (!token.ok()) return new RefusedStream<control::WaitContainerResponse>(token.status());
  // Forgets the waiter with the stream.
  std::shared_ptr<void> cancel(nullptr, [this, token = *token](void*) { engine_.CancelWait(token); });
  Waiting* reactor = stream.get();
  reactor->Begin(std::move(stream), [shared, cancel, begun = false]() mutable -> Result<Waiting::Step> {
    control::WaitContainerResponse message;
    if (!begun) {
      begun = true;
      return Waiting::Step{std::move(message), false};
    }
    std::lock_guard lock(shared->mutex);
    if (!shared->outcome) return Waiting::Step{};
    message.set_done(true);
    message.set_exit_code(shared->outcome->exit_code);
    message.set_error(Printable(shared->outcome->error, 4096));
    return Waiting::Step{std::move(message), true};
  });
  return reactor;
}

StandaloneService::Stream<control::Event>* StandaloneService::Events(Context*, const control::EventsRequest* request) {
  using Following = PulledStream<control::Event>;
  auto stream = std::make_shared<Following>();
  std::weak_ptr<Following> weak = stream;
  engine::ActivityLog& log = engine_.Activities();
  Result<std::shared_ptr<engine::ActivityLog::Reader>> reader = log.Follow(request->since(), [weak] {
    if (std::shared_ptr<Following> alive = weak.lock()) alive->Wake();
  });
  if (!reader.ok()) return new RefusedStream<control::Event>(reader.status());
  const int64_t until = request->until() > 0 ? request->until() : request->no_follow() ? WallNanos() : 0;
  const bool past = until > 0 && until <= WallNanos();
  Following* reactor = stream.get();
  reactor->Begin(std::move(stream), [&log, reader = *reader, until, past]() -> Result<Following::Step> {
    ASSIGN_OR_RETURN(engine::ActivityPtr activity, log.Next(*reader));
    if (!activity) return Following::Step{std::nullopt, past};
    if (until > 0 && activity->time > until) return Following::Step{std::nullopt, true};
    return Following::Step{ToEvent(*activity), false};
  });
  return reactor;
}

}  // namespace davit::cri
