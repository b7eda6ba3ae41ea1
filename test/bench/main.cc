// davit-bench: what a CRI engine takes, alone or beside another one in the same run.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <set>

#include "base/strings.h"
#include "measure.h"

namespace {

using davit::Result;
using davit::Status;

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set by a signal handler");

struct Flags {
  std::string endpoint = davit::client::kDefaultEndpoint;
  std::string versus;
  pid_t daemon_pid = 0;
  pid_t versus_pid = 0;
  std::vector<std::string> only = {"start", "list", "stats", "memory", "pull"};
  std::string output = "markdown";
  davit::bench::Plan plan;
};

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--endpoint", flags.endpoint, "socket of the engine")->capture_default_str();
  app.add_option("--vs", flags.versus, "socket of another engine, measured in turn with the first");
  app.add_option("--daemon-pid", flags.daemon_pid, "process of the engine, for memory and CPU");
  app.add_option("--vs-daemon-pid", flags.versus_pid, "process of the other engine");
  app.add_option("--image", flags.plan.image, "image of the containers; needs sh, sleep and true")
      ->capture_default_str();
  app.add_option("--pull-image", flags.plan.pull_image, "image to measure pulls with; must share no layer with others");
  app.add_option("--iterations", flags.plan.iterations, "pods of the start measure")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--warmup", flags.plan.warmup, "pods before it that are not counted")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--pulls", flags.plan.pulls, "pulls")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--pods", flags.plan.pods, "numbers of pods of the memory measure")
      ->delimiter(',')
      ->check(CLI::Range(1, 10000));
  app.add_option("--list-at", flags.plan.list_at, "containers of the list measure, pods of the stats measure")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--busy-containers", flags.plan.busy_containers, "containers of the busy measure")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--busy-seconds", flags.plan.busy_seconds, "of reads in each of its situations")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--stuck-handler", flags.plan.stuck_handler,
                 "runtime handler whose start stops itself (SIGSTOP), for the busy measure");
  app.add_option("--only", flags.only,
                 "start (with exec and stop), list, memory, pull, busy (lists of many containers while pods come and "
                 "go and starts hang; only when named)")
      ->delimiter(',')
      ->check(CLI::IsMember({"start", "exec", "stop", "list", "stats", "memory", "pull", "busy"}));
  app.add_option("-o,--output", flags.output, "markdown or json")->check(CLI::IsMember({"markdown", "json"}));
}

Status Measure(davit::bench::Bench& bench, const Flags& flags) {
  std::set<std::string> only(flags.only.begin(), flags.only.end());
  if (only.contains("start") || only.contains("exec") || only.contains("stop")) RETURN_IF_ERROR(bench.LifeCycle());
  if (only.contains("list")) RETURN_IF_ERROR(bench.List());
  if (only.contains("busy")) RETURN_IF_ERROR(bench.Busy());
  if (only.contains("stats")) RETURN_IF_ERROR(bench.Stats());
  if (only.contains("memory") && flags.daemon_pid != 0) RETURN_IF_ERROR(bench.Memory());
  if (only.contains("pull") && !flags.plan.pull_image.empty()) RETURN_IF_ERROR(bench.Pull());
  return {};
}

Status Run(Flags& flags) {
  flags.plan.busy_endpoint = flags.endpoint;
  std::sort(flags.plan.pods.begin(), flags.plan.pods.end());
  std::vector<std::unique_ptr<davit::bench::Engine>> owned;
  ASSIGN_OR_RETURN(auto first, davit::bench::Engine::Connect(flags.endpoint, "", flags.daemon_pid));
  owned.push_back(std::move(first));
  if (!flags.versus.empty()) {
    ASSIGN_OR_RETURN(auto second, davit::bench::Engine::Connect(flags.versus, "", flags.versus_pid));
    if (second->name() == owned.front()->name()) {
      ASSIGN_OR_RETURN(second, davit::bench::Engine::Connect(flags.versus, " (2)", flags.versus_pid));
    }
    owned.push_back(std::move(second));
  }
  std::vector<davit::bench::Engine*> engines;
  std::vector<std::string> names;
  for (const auto& engine : owned) {
    fmt::print(stderr, "{} {}\n", engine->name(), engine->version());
    RETURN_IF_ERROR(engine->EnsureImage(flags.plan.image).Annotate(engine->name()));
    engines.push_back(engine.get());
    names.push_back(engine->name());
  }
  davit::bench::Report report(names);
  davit::bench::Bench bench(engines, flags.plan, report, stop_requested);
  Status status = Measure(bench, flags);
  // What was measured before an error or ^C is worth having.
  if (!report.empty()) fmt::print("{}", flags.output == "json" ? report.Json() : report.Markdown());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "davit-bench: measures a CRI engine, alone or beside another one.\n\n"
      "Examples:\n"
      "  davit-bench --endpoint unix:///run/davit/davit.sock --daemon-pid $(pidof davitd)\n"
      "  davit-bench --endpoint unix:///run/davit/davit.sock --vs unix:///run/crio/crio.sock --only start --iterations "
      "50\n",
      "davit-bench"};
  Flags flags;
  AddFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  auto ask = [](int) { stop_requested = true; };
  std::signal(SIGINT, ask);
  std::signal(SIGTERM, ask);
  Status status = Run(flags);
  if (!status.ok()) fmt::print(stderr, "davit-bench: {} ({})\n", status.message(), davit::CodeName(status.code()));
  return status.ok() ? 0 : 1;
}
