// davit stats: what containers use, once or until a signal.
#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <chrono>
#include <map>
#include <thread>

#include "base/strings.h"
#include "cli/everyday.h"
#include "cli/format.h"
#include "cli/table.h"
#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

constexpr std::chrono::milliseconds kBetween{1000};

struct Sample {
  int64_t at = 0;
  uint64_t cpu_nanos = 0;
};

struct Row {
  std::string id;
  std::string name;
  double cpu_percent = 0;
  uint64_t memory = 0;
  uint64_t limit = 0;
  uint64_t received = 0;
  uint64_t sent = 0;
  uint64_t writable = 0;
  int processes = 0;
};

uint64_t MemoryOfNode() {
  struct sysinfo info {};
  if (::sysinfo(&info) != 0) return 0;
  return static_cast<uint64_t>(info.totalram) * info.mem_unit;
}

// Empties `earlier` of nothing: a container that was not there before has 0 %.
Result<std::vector<Row>> Measure(const Context& context, const Names& names, std::map<std::string, Sample>& earlier) {
  control::ListContainersAllRequest request;
  for (const std::string& name : names) request.add_containers(name);
  request.set_full(true);
  ASSIGN_OR_RETURN(control::ListContainersAllResponse list, context.client.Call(request));
  std::vector<Row> rows;
  for (const control::Container& one : list.containers()) {
    const bool runs = one.state() == control::STATE_RUNNING || one.state() == control::STATE_PAUSED;
    if (!runs && names.empty()) continue;
    Row& row = rows.emplace_back();
    row.id = one.id();
    row.name = one.name();
    if (!runs) continue;
    cri::ContainerStatsRequest ask;
    ask.set_container_id(one.id());
    Result<cri::ContainerStatsResponse> stats = context.client.Call(ask);
    if (!stats.ok()) continue;  // it has ended meanwhile
    const cri::ContainerStats& now = stats->stats();
    Sample sample{now.cpu().timestamp(), now.cpu().usage_core_nano_seconds().value()};
    auto before = earlier.find(one.id());
    if (before != earlier.end() && sample.at > before->second.at && sample.cpu_nanos >= before->second.cpu_nanos) {
      row.cpu_percent = 100.0 * static_cast<double>(sample.cpu_nanos - before->second.cpu_nanos) /
                        static_cast<double>(sample.at - before->second.at);
    } else if (before == earlier.end()) {
      row.cpu_percent = static_cast<double>(now.cpu().usage_nano_cores().value()) / 1e7;
    }
    earlier[one.id()] = sample;
    row.memory = now.memory().working_set_bytes().value();
    const int64_t limit = one.config().linux().resources().memory_limit_in_bytes();
    row.limit = limit > 0 ? static_cast<uint64_t>(limit) : MemoryOfNode();
    row.writable = now.writable_layer().used_bytes().value();
    cri::PodSandboxStatsRequest ask_pod;
    ask_pod.set_pod_sandbox_id(one.pod_id());
    if (Result<cri::PodSandboxStatsResponse> pod = context.client.Call(ask_pod); pod.ok()) {
      const cri::NetworkInterfaceUsage& usage = pod->stats().linux().network().default_interface();
      row.received = usage.rx_bytes().value();
      row.sent = usage.tx_bytes().value();
    }
    control::ListProcessesRequest processes;
    processes.set_container(one.id());
    if (auto answer = context.client.Call(processes); answer.ok()) row.processes = answer->pids_size();
  }
  return rows;
}

void Show(const Context& context, const std::vector<Row>& rows, bool again) {
  if (context.out.json) {
    std::string all;
    for (const Row& row : rows) {
      all += fmt::format(
          R"({}{{"id":"{}","name":"{}","cpuPercent":{:.2f},"memoryBytes":{},"memoryLimitBytes":{},"receivedBytes":{},)"
          R"("sentBytes":{},"writableBytes":{},"processes":{}}})",
          all.empty() ? "" : ",", row.id, Printable(row.name), row.cpu_percent, row.memory, row.limit, row.received,
          row.sent, row.writable, row.processes);
    }
    PrintLine("[" + all + "]");
    return;
  }
  Table table({"CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "WRITTEN", "PIDS"});
  for (const Row& row : rows) {
    const double share = row.limit == 0 ? 0 : 100.0 * static_cast<double>(row.memory) / static_cast<double>(row.limit);
    table.AddRow({DisplayId(row.id, context.out.full), row.name, fmt::format("{:.2f}%", row.cpu_percent),
                  HumanBytes(row.memory) + " / " + HumanBytes(row.limit), fmt::format("{:.2f}%", share),
                  HumanBytes(row.received) + " / " + HumanBytes(row.sent), HumanBytes(row.writable),
                  std::to_string(row.processes)});
  }
  if (again && context.out.terminal) Print("\x1b[H\x1b[2J");
  Print(table.Render(context.out.colour));
}

}  // namespace

Result<int> ContainerStats(const Context& context, const StatsOptions& options) {
  std::map<std::string, Sample> earlier;
  // A share of the processors is one of a span of time.
  RETURN_IF_ERROR(Measure(context, options.containers, earlier).status());
  for (;;) {
    std::this_thread::sleep_for(kBetween);
    ASSIGN_OR_RETURN(std::vector<Row> rows, Measure(context, options.containers, earlier));
    Show(context, rows, !options.once);
    if (options.once) return 0;
  }
}

}  // namespace davit::cli
