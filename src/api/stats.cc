// What containers use, once or every second, and their processes.
#include <dirent.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/host_facts.h"
#include "api/json_out.h"
#include "base/strings.h"
#include "base/time.h"
#include "client/client.h"
#include "runtime/v1/cri.pb.h"
#include "sys/unique_fd.h"

namespace davit::api {
namespace {

namespace json = boost::json;

// One look at a container.
struct Sample {
  int64_t at = 0;
  uint64_t cpu = 0;         // nanoseconds since its start
  uint64_t system_cpu = 0;  // of the node
  uint64_t memory = 0;
  uint64_t pids = 0;
  uint64_t rx = 0;
  uint64_t tx = 0;
  bool valid = false;
};

void Note(const cri::ContainerStats& from, uint64_t system, Sample& to) {
  to.at = from.cpu().timestamp() != 0 ? from.cpu().timestamp() : WallNanos();
  to.cpu = from.cpu().usage_core_nano_seconds().value();
  to.system_cpu = system;
  to.memory = from.memory().usage_bytes().value() != 0 ? from.memory().usage_bytes().value()
                                                       : from.memory().working_set_bytes().value();
  to.valid = true;
}

// CRI's lists leave standalone ones out, and answer for each by its id.
Result<std::map<std::string, Sample>> TakeSamples(Api& api, const std::vector<Entry>& entries) {
  std::map<std::string, Sample> samples;
  uint64_t system = SystemCpuNanos();
  std::map<std::string, cri::PodSandboxStats> pods;
  for (const Entry& entry : entries) {
    cri::ContainerStatsRequest one;
    one.set_container_id(entry.container.id());
    Result<cri::ContainerStatsResponse> stats = api.client().Call(one);
    if (stats.code() == StatusCode::kNotFound) continue;  // it went meanwhile
    RETURN_IF_ERROR(stats.status());
    Sample& sample = samples[entry.container.id()];
    Note(stats->stats(), system, sample);
    // Network and processes are known of pods.
    auto pod = pods.find(entry.container.pod_id());
    if (pod == pods.end()) {
      cri::PodSandboxStatsRequest its;
      its.set_pod_sandbox_id(entry.container.pod_id());
      Result<cri::PodSandboxStatsResponse> response = api.client().Call(its);
      pod = pods.emplace(entry.container.pod_id(), response.ok() ? response->stats() : cri::PodSandboxStats()).first;
    }
    const cri::LinuxPodSandboxStats& linux_part = pod->second.linux();
    sample.rx = linux_part.network().default_interface().rx_bytes().value();
    sample.tx = linux_part.network().default_interface().tx_bytes().value();
    sample.pids = linux_part.process().process_count().value();
  }
  return samples;
}

uint64_t MemoryLimit(const Entry& entry, const HostFacts& host) {
  int64_t limit = entry.container.config().linux().resources().memory_limit_in_bytes();
  return limit > 0 ? static_cast<uint64_t>(limit) : host.memory_total;
}

json::object CpuStats(const Sample& sample, unsigned cpus) {
  if (!sample.valid) {
    return {{"cpu_usage", {{"total_usage", 0}, {"usage_in_kernelmode", 0}, {"usage_in_usermode", 0}}},
            {"throttling_data", {{"periods", 0}, {"throttled_periods", 0}, {"throttled_time", 0}}}};
  }
  return {{"cpu_usage", {{"total_usage", sample.cpu}, {"usage_in_kernelmode", 0}, {"usage_in_usermode", sample.cpu}}},
          {"system_cpu_usage", sample.system_cpu},
          {"online_cpus", cpus},
          {"throttling_data", {{"periods", 0}, {"throttled_periods", 0}, {"throttled_time", 0}}}};
}

json::object DockerStats(const Entry& entry, const Sample& now, const Sample& before, const HostFacts& host) {
  json::object out = {
      {"read", now.valid ? FormatRfc3339Nano(now.at) : std::string(kGoZeroTime)},
      {"preread", before.valid ? FormatRfc3339Nano(before.at) : std::string(kGoZeroTime)},
      {"pids_stats", {{"current", now.pids}}},
      {"blkio_stats",
       {{"io_service_bytes_recursive", json::array()},
        {"io_serviced_recursive", nullptr},
        {"io_queue_recursive", nullptr},
        {"io_service_time_recursive", nullptr},
        {"io_wait_time_recursive", nullptr},
        {"io_merged_recursive", nullptr},
        {"io_time_recursive", nullptr},
        {"sectors_recursive", nullptr}}},
      {"num_procs", 0},
      {"storage_stats", json::object()},
      {"cpu_stats", CpuStats(now, host.cpus)},
      {"precpu_stats", CpuStats(before, host.cpus)},
      {"memory_stats", {{"usage", now.memory}, {"limit", MemoryLimit(entry, host)}, {"stats", json::object()}}},
      {"name", "/" + entry.name},
      {"id", entry.container.id()}};
  if (now.rx != 0 || now.tx != 0) {
    out["networks"] = {{"eth0",
                        {{"rx_bytes", now.rx},
                         {"rx_packets", 0},
                         {"rx_errors", 0},
                         {"rx_dropped", 0},
                         {"tx_bytes", now.tx},
                         {"tx_packets", 0},
                         {"tx_errors", 0},
                         {"tx_dropped", 0}}}};
  }
  return out;
}

json::object LibpodStats(const Entry& entry, const Sample& now, const Sample& before, const HostFacts& host) {
  int64_t started = entry.container.started_at();
  double total = started > 0 && now.at > started ? static_cast<double>(now.at - started) : 0;
  double average = total > 0 ? static_cast<double>(now.cpu) / total * 100 : 0;
  double cpu = average;
  if (before.valid && now.at > before.at && now.cpu >= before.cpu) {
    cpu = static_cast<double>(now.cpu - before.cpu) / static_cast<double>(now.at - before.at) * 100;
  }
  uint64_t limit = MemoryLimit(entry, host);
  return {{"AvgCPU", average},
          {"ContainerID", entry.container.id()},
          {"Name", entry.name},
          {"PerCPU", nullptr},
          {"CPU", cpu},
          {"CPUNano", now.cpu},
          {"CPUSystemNano", 0},
          {"SystemNano", now.at},
          {"MemUsage", now.memory},
          {"MemLimit", limit},
          {"MemPerc", limit > 0 ? static_cast<double>(now.memory) / static_cast<double>(limit) * 100 : 0.0},
          {"NetInput", now.rx},
          {"NetOutput", now.tx},
          {"BlockInput", 0},
          {"BlockOutput", 0},
          {"PIDs", now.pids},
          {"UpTime", now.cpu},
          {"Duration", now.cpu}};
}

// A stream of looks: a timer of the loop, the looking on the pool.
struct StatsStream : std::enable_shared_from_this<StatsStream> {
  Api& api;
  ExchangePtr exchange;
  std::vector<std::string> names;  // none: all that run
  bool libpod = false;
  bool all = false;
  std::chrono::milliseconds interval{1000};
  std::map<std::string, Sample> before;

  StatsStream(Api& owner, ExchangePtr to) : api(owner), exchange(std::move(to)) {}

  Result<std::vector<Entry>> Entries() {
    std::vector<Entry> out;
    if (names.empty()) {
      ASSIGN_OR_RETURN(out, api.engine().Containers());
      std::erase_if(out, [&](const Entry& entry) { return !all && entry.container.state() != control::STATE_RUNNING; });
      return out;
    }
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(Entry entry, api.engine().Find(libpod, name, false));
      out.push_back(std::move(entry));
    }
    return out;
  }

  Result<std::string> Record() {
    ASSIGN_OR_RETURN(std::vector<Entry> entries, Entries());
    ASSIGN_OR_RETURN(auto now, TakeSamples(api, entries));
    HostFacts host = ReadHostFacts();
    std::string text;
    if (libpod) {
      json::array rows;
      for (const Entry& entry : entries) {
        rows.push_back(LibpodStats(entry, now[entry.container.id()], before[entry.container.id()], host));
      }
      text = JsonLine(json::object{{"Error", nullptr}, {"Stats", std::move(rows)}});
    } else {
      for (const Entry& entry : entries) {
        text += JsonLine(DockerStats(entry, now[entry.container.id()], before[entry.container.id()], host));
      }
    }
    before = std::move(now);
    return text;
  }

  void Next() {
    auto self = shared_from_this();
    api.loop().After(interval, [self] {
      if (self->exchange->closed()) return;
      self->api.pool().Post([self] {
        Result<std::string> record = self->Record();
        if (!record.ok()) {
          if (self->libpod)
            self->exchange->Write(JsonLine(json::object{{"Error", record.status().message()}, {"Stats", nullptr}}));
          self->exchange->End();
          return;
        }
        // A client that does not read is not written to.
        if (self->exchange->unsent() < Exchange::kHigh && !self->exchange->Write(*record)) return;
        self->Next();
      });
    });
  }
};

Status Stats(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(bool stream, request.QueryBool("stream", true));
  ASSIGN_OR_RETURN(bool one_shot, request.QueryBool("one-shot", false));
  auto state = std::make_shared<StatsStream>(api, exchange);
  if (request.libpod && request.Param("name").empty()) {
    state->libpod = true;
    state->names = request.QueryAll("containers");
    ASSIGN_OR_RETURN(state->all, request.QueryBool("all", false));
    ASSIGN_OR_RETURN(int64_t interval, request.QueryInt("interval", 5));
    state->interval = std::chrono::seconds(std::clamp<int64_t>(interval, 1, 3600));
  } else {
    ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
    state->names = {entry.container.id()};
  }
  if (!state->names.empty()) RETURN_IF_ERROR(state->Entries().status());
  exchange->Begin(Reply());
  // The first look of a stream has nothing before it, and docker takes the second one of a single look too, unless it
  // says one-shot; the first is then only for the difference.
  Result<std::string> record = state->Record();
  if (!record.ok()) {
    exchange->End();
    return {};
  }
  if (stream) {
    exchange->Write(*record);
    state->Next();
    return {};
  }
  if (one_shot || state->libpod) {
    exchange->Write(*record);
    exchange->End();
    return {};
  }
  api.loop().After(state->interval, [state] {
    state->api.pool().Post([state] {
      Result<std::string> second = state->Record();
      if (second.ok()) state->exchange->Write(*second);
      state->exchange->End();
    });
  });
  return {};
}

// ---- top ----

struct Process {
  int64_t pid = 0;
  int64_t inner_pid = 0;
  int64_t ppid = 0;
  std::string user;
  uint64_t cpu_ticks = 0;
  uint64_t start_ticks = 0;
  std::string tty = "?";
  std::string command;
};

std::optional<Process> ReadProcess(int64_t pid) {
  std::string base = fmt::format("/proc/{}", pid);
  Result<std::string> stat = sys::ReadFile(base + "/stat", 4096);
  if (!stat.ok()) return std::nullopt;
  Process out;
  out.pid = pid;
  // The name in brackets may have blanks and brackets.
  size_t close = stat->rfind(')');
  if (close == std::string::npos) return std::nullopt;
  std::string name = stat->substr(stat->find('(') + 1, close - stat->find('(') - 1);
  std::vector<std::string> fields = Split(Trim(std::string_view(*stat).substr(close + 1)), ' ');
  if (fields.size() < 20) return std::nullopt;
  out.ppid = ParseInt64(fields[1]).value_or(0);
  out.cpu_ticks = ParseUint64(fields[11]).value_or(0) + ParseUint64(fields[12]).value_or(0);
  out.start_ticks = ParseUint64(fields[19]).value_or(0);
  if (int64_t tty = ParseInt64(fields[4]).value_or(0); (tty >> 8) == 136) out.tty = fmt::format("pts/{}", tty & 0xff);
  if (Result<std::string> line = sys::ReadFile(base + "/cmdline", 64 * 1024); line.ok() && !line->empty()) {
    out.command = *line;
    for (char& c : out.command) c = c == '\0' ? ' ' : c;
    out.command = std::string(Trim(out.command));
  } else {
    out.command = "[" + name + "]";
  }
  out.inner_pid = pid;
  if (Result<std::string> status = sys::ReadFile(base + "/status", 16 * 1024); status.ok()) {
    for (const std::string& line : Split(*status, '\n')) {
      if (!line.starts_with("NSpid:")) continue;
      std::vector<std::string> ids = Split(Trim(line.substr(6)), '\t');
      out.inner_pid = ParseInt64(Trim(ids.back())).value_or(pid);
    }
  }
  struct stat info {};
  if (::stat(base.c_str(), &info) == 0) out.user = info.st_uid == 0 ? "root" : std::to_string(info.st_uid);
  return out;
}

// Those that davitd counts, else those whose cgroup is that of the first process.
Result<std::vector<int64_t>> Pids(Api& api, const Entry& entry) {
  control::ListProcessesRequest request;
  request.set_container(entry.container.id());
  if (api.engine().standalone.MayAsk()) {
    Result<control::ListProcessesResponse> response = api.client().Call(request);
    if (!api.engine().standalone.Missing(response.status())) {
      RETURN_IF_ERROR(response.status());
      return std::vector<int64_t>(response->pids().begin(), response->pids().end());
    }
  }
  if (entry.container.pid() <= 0) return NeedsDavit("top");
  std::string own = fmt::format("/proc/{}/cgroup", entry.container.pid());
  ASSIGN_OR_RETURN(std::string cgroup, sys::ReadFile(own, 64 * 1024));
  std::vector<int64_t> pids;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return ErrnoError(errno, "open /proc");
  while (dirent* item = ::readdir(proc)) {
    auto pid = ParseInt64(item->d_name);
    if (!pid) continue;
    Result<std::string> theirs = sys::ReadFile(fmt::format("/proc/{}/cgroup", *pid), 64 * 1024);
    if (theirs.ok() && *theirs == cgroup) pids.push_back(*pid);
  }
  ::closedir(proc);
  return pids;
}

std::string Clock(uint64_t seconds) {
  return fmt::format("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

Result<json::object> TopObject(Api& api, bool libpod, const std::vector<Entry>& entries) {
  auto ticks = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  auto uptime = static_cast<uint64_t>(ReadHostFacts().uptime_seconds);
  json::array rows;
  for (const Entry& entry : entries) {
    ASSIGN_OR_RETURN(std::vector<int64_t> pids, Pids(api, entry));
    for (int64_t pid : pids) {
      std::optional<Process> process = ReadProcess(pid);
      if (!process) continue;
      uint64_t age = uptime - std::min(uptime, process->start_ticks / ticks);
      uint64_t cpu = process->cpu_ticks / ticks;
      double share = age > 0 ? 100.0 * static_cast<double>(cpu) / static_cast<double>(age) : 0;
      if (libpod) {
        rows.push_back(json::array{process->user, std::to_string(process->inner_pid),
                                   std::to_string(process->inner_pid == 1 ? 0 : process->ppid),
                                   fmt::format("{:.3f}", share), fmt::format("{}s", age), process->tty,
                                   fmt::format("{}s", cpu), process->command});
      } else {
        rows.push_back(json::array{process->user, std::to_string(process->pid), std::to_string(process->ppid),
                                   fmt::format("{:.0f}", share), Clock(age), process->tty, Clock(cpu),
                                   process->command});
      }
    }
  }
  json::array titles = libpod ? json::array{"USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"}
                              : json::array{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"};
  return json::object{{"Titles", std::move(titles)}, {"Processes", std::move(rows)}};
}

Result<Reply> Top(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), true));
  if (entry.container.state() != control::STATE_RUNNING && entry.container.state() != control::STATE_PAUSED) {
    return FailedPrecondition(fmt::format("container {} is not running: container state improper", entry.name));
  }
  ASSIGN_OR_RETURN(json::object top, TopObject(api, request.libpod, {entry}));
  return JsonReply(top);
}

Result<std::vector<Entry>> Members(Api& api, const control::Pod& pod) {
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers(true));
  std::erase_if(entries, [&](const Entry& entry) {
    return entry.container.pod_id() != pod.id() || entry.container.state() != control::STATE_RUNNING;
  });
  return entries;
}

Result<Reply> PodTop(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::Pod pod, api.engine().FindPod(request.Param("name")));
  ASSIGN_OR_RETURN(std::vector<Entry> entries, Members(api, pod));
  ASSIGN_OR_RETURN(json::object top, TopObject(api, true, entries));
  return JsonReply(top);
}

std::string HumanSize(uint64_t bytes) { return HumanBytes(bytes); }

Result<Reply> PodStats(Api& api, const Request& request) {
  std::vector<std::string> names = request.QueryAll("namesOrIDs");
  std::vector<control::Pod> pods;
  if (names.empty()) {
    ASSIGN_OR_RETURN(pods, api.engine().Pods());
  }
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(control::Pod pod, api.engine().FindPod(name));
    pods.push_back(std::move(pod));
  }
  HostFacts host = ReadHostFacts();
  json::array rows;
  for (const control::Pod& pod : pods) {
    ASSIGN_OR_RETURN(std::vector<Entry> entries, Members(api, pod));
    if (entries.empty()) continue;
    ASSIGN_OR_RETURN(auto samples, TakeSamples(api, entries));
    for (const Entry& entry : entries) {
      const Sample& sample = samples[entry.container.id()];
      uint64_t limit = MemoryLimit(entry, host);
      int64_t age = sample.at - entry.container.started_at();
      rows.push_back(
          {{"CPU",
            fmt::format("{:.2f}%", age > 0 ? 100.0 * static_cast<double>(sample.cpu) / static_cast<double>(age) : 0.0)},
           {"MemUsage", fmt::format("{} / {}", HumanSize(sample.memory), HumanSize(limit))},
           {"MemUsageBytes", fmt::format("{} / {}", sample.memory, limit)},
           {"Mem",
            fmt::format("{:.2f}%",
                        limit > 0 ? 100.0 * static_cast<double>(sample.memory) / static_cast<double>(limit) : 0.0)},
           {"NetIO", fmt::format("{} / {}", HumanSize(sample.rx), HumanSize(sample.tx))},
           {"BlockIO", "-- / --"},
           {"PIDS", std::to_string(sample.pids)},
           {"Pod", pod.id().substr(0, 12)},
           {"CID", entry.container.id().substr(0, 12)},
           {"Name", entry.name}});
    }
  }
  return JsonReply(rows);
}

}  // namespace

void AddStatsRoutes(Router& router) {
  router.Stream(Flavour::kBoth, "GET", "/containers/{name}/stats", Stats);
  router.Stream(Flavour::kLibpod, "GET", "/containers/stats", Stats);
  router.Add(Flavour::kBoth, "GET", "/containers/{name}/top", Top);
  router.Add(Flavour::kLibpod, "GET", "/pods/{name}/top", PodTop);
  router.Add(Flavour::kLibpod, "GET", "/pods/stats", PodStats);
}

}  // namespace davit::api
