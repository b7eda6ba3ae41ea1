// davitd's own metrics (docs/metrics.md). The names are davitd_*, and Prometheus' process_* for the process.
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "base/strings.h"
#include "base/time.h"
#include "base/version.h"
#include "engine/state.h"
#include "sys/process_files.h"

namespace davit::engine {
namespace {

using Labels = MetricsText::Labels;

void One(MetricsText& out, std::string_view name, std::string_view type, std::string_view help, uint64_t value) {
  out.Family(name, type, help);
  out.Sample(name, {}, value);
}

void WriteProcess(MetricsText& out, double started_at) {
  if (Result<std::string> statm = sys::ReadFile("/proc/self/statm", 256); statm.ok()) {
    std::vector<std::string> pages = Split(Trim(*statm), ' ');
    auto bytes = [&](size_t i) {
      return (i < pages.size() ? ParseUint64(pages[i]).value_or(0) : 0) *
             static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    };
    One(out, "process_virtual_memory_bytes", "gauge", "Virtual memory of davitd.", bytes(0));
    One(out, "process_resident_memory_bytes", "gauge", "Resident memory of davitd.", bytes(1));
  }
  if (Result<sys::ProcessFiles> files = sys::CountProcessFiles(::getpid(), 1 << 20); files.ok()) {
    One(out, "process_open_fds", "gauge", "Open descriptors of davitd.", files->descriptors);
  }
  if (std::optional<uint64_t> limit = sys::OpenFilesLimit(::getpid())) {
    One(out, "process_max_fds", "gauge", "Descriptors that davitd may open.", *limit);
  }
  rusage use{};
  if (::getrusage(RUSAGE_SELF, &use) == 0) {
    auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    out.Family("process_cpu_seconds_total", "counter", "CPU time of davitd.");
    out.Sample("process_cpu_seconds_total", {}, seconds(use.ru_utime) + seconds(use.ru_stime));
  }
  out.Family("process_start_time_seconds", "gauge", "When davitd started, since the epoch.");
  out.Sample("process_start_time_seconds", {}, started_at);
}

void WriteObjects(MetricsText& out, const Snapshot& view) {
  std::array<uint64_t, 5> pods{};
  std::array<uint64_t, 5> containers{};
  for (const auto& [id, record] : view.pods()) ++pods.at(static_cast<size_t>(record->phase));
  for (const auto& [id, record] : view.containers()) ++containers.at(static_cast<size_t>(record->phase));
  static constexpr std::array<std::string_view, 5> kPodPhases = {"creating", "ready", "stopping", "not_ready",
                                                                 "removing"};
  static constexpr std::array<std::string_view, 5> kContainerPhases = {"creating", "created", "running", "exited",
                                                                       "removing"};
  out.Family("davitd_pods", "gauge", "Pods by phase.");
  for (size_t i = 0; i < pods.size(); ++i) out.Sample("davitd_pods", {{"phase", kPodPhases[i]}}, pods[i]);
  out.Family("davitd_containers", "gauge", "Containers by phase.");
  for (size_t i = 0; i < containers.size(); ++i) {
    out.Sample("davitd_containers", {{"phase", kContainerPhases[i]}}, containers[i]);
  }
}

void WriteCounters(MetricsText& out, const Counters& counters) {
  out.Family("davitd_image_pulls_total", "counter", "Image pulls that ended.");
  out.Sample("davitd_image_pulls_total", {{"result", "success"}}, counters.pulls.value());
  out.Sample("davitd_image_pulls_total", {{"result", "failure"}}, counters.pull_failures.value());
  One(out, "davitd_image_pulled_bytes_total", "counter", "Compressed bytes received from registries.",
      counters.pulled_bytes.value());
  out.Family("davitd_image_pull_duration_seconds", "histogram", "How long pulls took, failed ones too.");
  out.Sample("davitd_image_pull_duration_seconds", {}, counters.pull_seconds);
  One(out, "davitd_container_exits_total", "counter", "Containers that ended.", counters.exits.value());
  One(out, "davitd_container_oom_kills_total", "counter", "Containers that ended because memory ran out.",
      counters.oom_kills.value());
  out.Family("davitd_recovered_total", "counter", "What this start did with what an earlier davitd had left.");
  for (const auto& [outcome, counter] :
       {std::pair{"running", &counters.recovered_running}, std::pair{"exited", &counters.recovered_exited},
        std::pair{"removed", &counters.recovered_removed}, std::pair{"stopped", &counters.recovered_stopped},
        std::pair{"failed", &counters.recovery_failures}}) {
    out.Sample("davitd_recovered_total", {{"outcome", outcome}}, counter->value());
  }
}

}  // namespace

void Engine::WriteMetrics(MetricsText& out) const {
  const State& state = *state_;
  out.Family("davitd_build_info", "gauge", "1; the version is the label.");
  out.Sample("davitd_build_info", {{"version", kVersion}}, uint64_t{1});
  WriteObjects(out, *state.View());
  const std::pair<std::string_view, std::pair<size_t, uint64_t>> operations[] = {
      {"run_pod", {state.run_pods.running(), state.run_pods.joined()}},
      {"create_container", {state.create_containers.running(), state.create_containers.joined()}},
      {"pull_image", {state.pulls.running(), state.pulls.joined()}},
      {"other", {state.verbs.running(), state.verbs.joined()}}};
  out.Family("davitd_operations_in_flight", "gauge", "Operations that run now; requests that joined count once.");
  for (const auto& [kind, counts] : operations) {
    out.Sample("davitd_operations_in_flight", {{"operation", kind}}, uint64_t{counts.first});
  }
  out.Family("davitd_operations_joined_total", "counter", "Requests that found their operation running already.");
  for (const auto& [kind, counts] : operations) {
    out.Sample("davitd_operations_joined_total", {{"operation", kind}}, counts.second);
  }
  WriteCounters(out, state.counters);
  EventLog::Counters events = state.events->counters();
  One(out, "davitd_events_total", "counter", "Events of pods and containers.", events.published);
  One(out, "davitd_events_lost_total", "counter", "Events that subscribers missed because they read too slowly.",
      events.lost);
  One(out, "davitd_event_subscribers", "gauge", "Open streams of events.", uint64_t{events.subscribers});
  out.Family("davitd_threads", "gauge", "Threads of each pool.");
  for (const auto& [name, pool] : {std::pair{"verb", &state.pool}, std::pair{"exec", &state.exec_pool},
                                   std::pair{"pull", &state.pull_pool}, std::pair{"stats", &state.stats_pool}}) {
    out.Sample("davitd_threads", {{"pool", name}}, uint64_t{pool->threads()});
  }
  One(out, "davitd_stream_sessions", "gauge", "Exec, attach and port-forward connections that are open.",
      state.stream_server ? state.stream_server->sessions() : 0);
  One(out, "davitd_open_pod_interfaces", "gauge", "Network namespaces whose counters are kept open.",
      state.pod_interfaces.open());
  if (Result<store::FilesystemUsage> images = store::UsageOf(state.config.root, *state.layers, *state.content);
      images.ok()) {
    One(out, "davitd_image_filesystem_used_bytes", "gauge", "Bytes of layers and image documents.", images->used.bytes);
    One(out, "davitd_image_filesystem_available_bytes", "gauge", "Bytes that are free beside them.",
        images->available_bytes);
  }
  WriteProcess(out, static_cast<double>(state.started_at) / 1e9);
}

}  // namespace davit::engine
