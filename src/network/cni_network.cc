#include "network/cni_network.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "base/log.h"
#include "base/strings.h"
#include "network/builtin.h"
#include "network/config_directory.h"
#include "network/plugin.h"
#include "network/request.h"
#include "network/result.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

Readiness ReadinessOf(const ConfigSnapshot& snapshot) {
  Readiness readiness;
  readiness.ready = snapshot.config.has_value();
  if (readiness.ready) return readiness;
  readiness.reason = "NetworkPluginNotReady";
  if (!snapshot.missing.empty()) {
    readiness.message = fmt::format(
        "no CNI configuration: {}; install a network add-on, or create {} and put a network configuration into it",
        snapshot.missing, snapshot.directory);
    return readiness;
  }
  readiness.message = fmt::format("no valid CNI configuration (*.conf, *.conflist, *.json) in {}", snapshot.directory);
  for (const auto& rejected : snapshot.rejected) {
    readiness.message += fmt::format("; {}: {}", rejected.file, rejected.why);
    if (readiness.message.size() > 4096) break;
  }
  readiness.message += "; install a network add-on or put a network configuration there";
  return readiness;
}

std::string Describe(const ConfigSnapshot& snapshot) {
  if (!snapshot.config) return ReadinessOf(snapshot).message;
  return fmt::format("network {} from {}/{}", snapshot.config->name, snapshot.directory, snapshot.file);
}

}  // namespace

struct CniNetwork::State {
  explicit State(CniOptions o) : options(std::move(o)) {}

  const CniOptions options;
  sched::EventLoop* loop = nullptr;  // outlives the network; may be nullptr
  sched::EventLoop::Token token = 0;
  BuiltinNetwork builtin;
  std::optional<DirectoryWatch> watch;  // touched on the loop's thread only, once that watches it
  std::atomic<bool> reload_queued = false;

  mutable std::mutex mutex;
  std::condition_variable no_reloads;
  std::shared_ptr<const ConfigSnapshot> snapshot;
  uint64_t next_reading = 1;
  uint64_t shown_reading = 0;
  int reloads = 0;  // queued or running on the executor
  bool closed = false;

  [[nodiscard]] std::shared_ptr<const ConfigSnapshot> Snapshot() const {
    std::lock_guard lock(mutex);
    return snapshot;
  }
  void Reload();
  void Notify() const;
  void OnWatchEvent(const std::shared_ptr<State>& self);
  PluginContext Context(const NetworkRequest& request) const;
};

void CniNetwork::State::Reload() {
  uint64_t reading = 0;
  {
    std::lock_guard lock(mutex);
    reading = next_reading++;
  }
  auto fresh = std::make_shared<const ConfigSnapshot>(ReadConfigDirectory(options.conf_dir));
  std::string said;
  {
    std::lock_guard lock(mutex);
    if (closed || reading < shown_reading) return;  // one that began later has been shown
    shown_reading = reading;
    if (snapshot) said = Describe(*snapshot);
    snapshot = fresh;
  }
  std::string text = Describe(*fresh);
  if (text != said) {
    if (fresh->config) {
      LogInfo("CNI: {}", text);
      for (const auto& bad : fresh->rejected) LogWarning("CNI: {}/{}: {}", fresh->directory, bad.file, bad.why);
    } else {
      LogWarning("CNI: {}", text);
    }
  }
}

void CniNetwork::State::Notify() const {
  if (options.on_change) options.on_change(ReadinessOf(*Snapshot()));
}

void CniNetwork::State::OnWatchEvent(const std::shared_ptr<State>& self) {
  if (!watch->Drain()) return;
  if (!options.executor) {
    Reload();
    Notify();
    return;
  }
  if (reload_queued.exchange(true)) return;  // that one reads what has changed by now
  {
    std::lock_guard lock(mutex);
    if (closed) return;
    ++reloads;
  }
  // Counts down even when the executor drops the task, so that the destructor never waits in vain.
  auto running = std::shared_ptr<void>(nullptr, [self](void*) {
    std::lock_guard lock(self->mutex);
    if (--self->reloads == 0) self->no_reloads.notify_all();
  });
  options.executor([self, running] {
    self->reload_queued = false;
    self->Reload();
    self->Notify();
  });
}

PluginContext CniNetwork::State::Context(const NetworkRequest& request) const {
  PluginContext context;
  context.bin_dirs = options.bin_dirs;
  context.plugin_owner = options.plugin_owner;
  context.container_id = request.pod.str();
  context.netns_path = request.netns_path;
  context.interface = options.interface;
  return context;
}

CniNetwork::CniNetwork(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<CniNetwork>> CniNetwork::Create(CniOptions options, sched::EventLoop* loop) {
  auto state = std::make_shared<State>(std::move(options));
  state->loop = loop;
  if (loop != nullptr) {
    // Watched before it is read, so that no change falls between.
    ASSIGN_OR_RETURN(DirectoryWatch watch, DirectoryWatch::Create(state->options.conf_dir));
    state->watch.emplace(std::move(watch));
  }
  state->Reload();
  if (loop != nullptr) {
    // Weak: the state owns the watch and not the other way round.
    std::weak_ptr<State> weak = state;
    ASSIGN_OR_RETURN(state->token, loop->Watch(state->watch->fd(), EPOLLIN, [weak](uint32_t) {
      if (auto self = weak.lock()) self->OnWatchEvent(self);
    }));
  }
  return std::unique_ptr<CniNetwork>(new CniNetwork(std::move(state)));
}

CniNetwork::~CniNetwork() {
  if (state_->token != 0) state_->loop->Remove(state_->token);
  std::unique_lock lock(state_->mutex);
  state_->closed = true;
  state_->no_reloads.wait(lock, [this] { return state_->reloads == 0; });
}

void CniNetwork::Reload() {
  state_->Reload();
  state_->Notify();
}

Readiness CniNetwork::Ready() const { return ReadinessOf(*state_->Snapshot()); }

Result<Attachment> CniNetwork::Plan(const NetworkRequest& request) {
  auto snapshot = state_->Snapshot();
  if (!snapshot->config) return FailedPrecondition(ReadinessOf(*snapshot).message);
  if (request.pod.empty()) return InvalidArgument("network request without a pod id");
  Attachment planned;
  ASSIGN_OR_RETURN(planned.ports, HostPorts(request.ports));
  PluginContext context = state_->Context(request);
  ASSIGN_OR_RETURN(context.args, CniArgs(request));
  ASSIGN_OR_RETURN(context.capability_args, CapabilityArgs(request, planned.ports));

  NetworkConfig config = *snapshot->config;
  bool appended = false;
  if (planned.ports.empty()) {
    config = config.Without("portmap");
    if (config.plugins.empty()) {
      return FailedPrecondition("network " + config.name + " holds only the portmap plugin, which gives no interface");
    }
  } else if (!config.Has("portMappings")) {
    const PluginConfig portmap{
        "portmap", {"portMappings"}, R"({"type":"portmap","capabilities":{"portMappings":true},"snat":true})"};
    config.plugins.push_back(portmap);
    appended = true;
  }
  planned.builtin = state_->options.builtin && BuiltinNetwork::Can(config, context).ok();
  planned.config = config.ToJson();
  if (planned.builtin) return planned;
  if (appended) {
    auto found = FindPlugin("portmap", state_->options.bin_dirs, state_->options.plugin_owner);
    if (!found.ok()) {
      return FailedPrecondition("host ports are asked for, but no plugin of network " + config.name +
                                " has the capability portMappings: " + found.status().message());
    }
  }
  // Here and not only at ADD: a pod that can never be attached leaves no trace at all.
  for (const PluginConfig& plugin : config.plugins) {
    RETURN_IF_ERROR(FindPlugin(plugin.type, state_->options.bin_dirs, state_->options.plugin_owner)
                        .status()
                        .Annotate("network " + config.name));
  }
  return planned;
}

Result<Attachment> CniNetwork::Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) {
  ASSIGN_OR_RETURN_WITH(NetworkConfig config, ParseNetworkConfig(planned.config), "planned network");
  const std::string intent = "attach network " + config.name;
  if (!NetnsPinned(request.netns_path)) {
    return FailedPrecondition(intent + ": no network namespace is pinned at " + request.netns_path);
  }
  PluginContext context = state_->Context(request);
  ASSIGN_OR_RETURN_WITH(context.args, CniArgs(request), intent);
  ASSIGN_OR_RETURN_WITH(context.capability_args, CapabilityArgs(request, planned.ports), intent);
  ASSIGN_OR_RETURN_WITH(
      planned.result,
      planned.builtin ? state_->builtin.Add(config, context, deadline) : AddNetwork(config, context, deadline), intent);
  ASSIGN_OR_RETURN_WITH(CniResult result, ParseCniResult(planned.result), intent);
  planned.ips = std::move(result.ips);
  if (planned.ips.empty()) {
    Status none = FailedPrecondition(intent + ": the plugins gave the pod no address");
    return none.WithUndoError(Detach(request, planned, Deadline::After(std::chrono::seconds(10))));
  }
  return planned;
}

Status CniNetwork::Detach(const NetworkRequest& request, const Attachment& attachment, Deadline deadline) {
  if (attachment.empty()) return {};
  ASSIGN_OR_RETURN_WITH(NetworkConfig config, ParseNetworkConfig(attachment.config), "recorded network");
  PluginContext context = state_->Context(request);
  if (!NetnsPinned(context.netns_path)) context.netns_path.clear();
  // What cannot be said again must not keep the network from being taken away.
  context.args = CniArgs(request).value_or("IgnoreUnknown=1");
  auto capabilities = CapabilityArgs(request, attachment.ports);
  if (!capabilities.ok()) {
    NetworkRequest plain = request;
    plain.annotations.clear();
    capabilities = CapabilityArgs(plain, attachment.ports);
  }
  if (capabilities.ok()) context.capability_args = std::move(*capabilities);
  if (attachment.builtin) {
    return state_->builtin.Del(config, context, attachment.result).Annotate("detach network " + config.name);
  }
  return DelNetwork(config, context, attachment.result, deadline).Annotate("detach network " + config.name);
}

std::string CniNetwork::StatusJson() const {
  auto snapshot = state_->Snapshot();
  Readiness readiness = ReadinessOf(*snapshot);
  json::object status;
  status["confDir"] = View(snapshot->directory);
  json::array& dirs = status["binDirs"].emplace_array();
  for (const std::string& dir : state_->options.bin_dirs) dirs.emplace_back(View(dir));
  status["ready"] = readiness.ready;
  if (!readiness.ready) status["message"] = View(readiness.message);
  if (snapshot->config) {
    status["file"] = View(snapshot->file);
    auto config = oci::ParseJson(snapshot->config->ToJson());
    if (config.ok()) status["config"] = std::move(*config);
  }
  json::array& rejected = status["rejected"].emplace_array();
  for (const auto& bad : snapshot->rejected) {
    rejected.emplace_back(json::object{{"file", View(bad.file)}, {"error", View(bad.why)}});
  }
  return oci::WriteJson(status);
}

}  // namespace davit::network
