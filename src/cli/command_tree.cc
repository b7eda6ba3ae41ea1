#include "cli/command_tree.h"

#include <memory>

#include "cli/everyday_tree.h"
#include "cli/tree_parts.h"

namespace davit::cli {
namespace {

// `--id ID` and `ID…` are the same.
std::shared_ptr<Ids> AddIds(CLI::App& command, const char* what, bool single = false) {
  auto ids = std::make_shared<Ids>();
  auto* option = command.add_option("--id,ID", *ids, std::string(what) + ": id, beginning of one, or name");
  option->required()->type_name("ID");
  if (single) option->expected(1);
  return ids;
}

void AddListFlags(CLI::App& command, ListOptions& options, const char* states) {
  command.add_option("--label", options.labels, "only with this label, key=value");
  command.add_option("--state", options.state, std::string("only in this state: ") + states);
  command.add_flag("-q,--quiet", options.quiet, "only ids");
}

void AddPodCommands(CLI::App& app, Invocation& to) {
  CLI::App& pod = Group(app, "pod", "work with pods, the kubelet's and standalone ones");
  AddStandalonePodVerbs(pod, to);
  {
    CLI::App& command =
        Command(pod, "run", "Start a pod from a JSON file and print its id.", "davit pod run --config pod.json");
    auto options = std::make_shared<PodRunOptions>();
    command.add_option("--config,FILE", options->config, "pod configuration, - for standard input")->required();
    command.add_option("--runtime", options->handler, "runtime handler");
    command.callback([&to, options] { to.action = [options](const Context& c) { return PodRun(c, *options); }; });
  }
  {
    CLI::App& command = Command(pod, "status", "Show one pod.", "davit pod status --id 3f2a -o json");
    auto ids = AddIds(command, "pod", true);
    command.callback([&to, ids] { to.action = [ids](const Context& c) { return PodStatus(c, ids->front()); }; });
  }
  {
    CLI::App& command = Command(pod, "stop", "Stop pods and their containers.", "davit pod stop --id 3f2a");
    auto ids = AddIds(command, "pod");
    command.callback([&to, ids] { to.action = [ids](const Context& c) { return PodStop(c, *ids); }; });
  }
  {
    CLI::App& command = Command(pod, "remove", "Remove stopped pods with their containers.", "davit pod remove -f web");
    command.alias("rm");
    auto ids = AddIds(command, "pod");
    auto force = std::make_shared<bool>(false);
    command.add_flag("-f,--force", *force, "stop them first");
    command.callback(
        [&to, ids, force] { to.action = [ids, force](const Context& c) { return PodRemove(c, *ids, *force); }; });
  }
  {
    CLI::App& command =
        Command(pod, "list", "List pods, the newest first.", "davit pod list --state ready --label app=web");
    command.alias("ls");
    auto options = std::make_shared<ListOptions>();
    AddListFlags(command, *options, "ready, notready");
    command.callback([&to, options] { to.action = [options](const Context& c) { return PodList(c, *options); }; });
  }
}

void AddExec(CLI::App& ctr, Invocation& to, const char* name, bool sync) {
  CLI::App& command = Command(
      ctr, name, sync ? "Run a command and wait for it (the same as exec --sync)." : "Run a command in a container.",
      sync ? "davit ctr execsync web cat /etc/hostname" : "davit ctr exec -it web sh");
  auto options = std::make_shared<ExecOptions>();
  options->sync = sync;
  command.add_option("--id", options->id, "container, instead of the first word");
  command.add_option("--timeout", options->timeout_seconds, "with --sync: seconds after which the command is killed")
      ->check(CLI::Range(int64_t{0}, int64_t{86400}));
  if (!sync) {
    command.add_flag("-i,--interactive", options->interactive, "pass on standard input");
    command.add_flag("-t,--tty", options->terminal, "give it a terminal");
    command.add_flag("-s,--sync", options->sync, "wait for the end without streaming");
  }
  KeepWords(command, "ID COMMAND [ARGUMENT...]");
  command.callback([&to, &command, options] {
    Ids words = Words(command);
    if (options->id.empty() && !words.empty()) {
      options->id = words.front();
      words.erase(words.begin());
    }
    if (!words.empty() && words.front() == "--") words.erase(words.begin());
    options->command = words;
    if (options->id.empty() || words.empty()) to.usage_error = "exec needs a container and a command";
    to.action = [options](const Context& c) { return CtrExec(c, *options); };
  });
}

void AddCtrLifeCommands(CLI::App& ctr, Invocation& to) {
  {
    CLI::App& command = Command(ctr, "create", "Create a container in a pod and print its id.",
                                "davit ctr create --pod 3f2a --config ctr.json --pod-config pod.json");
    auto options = std::make_shared<CtrCreateOptions>();
    command.add_option("--pod", options->pod, "pod: id, beginning of one, or name")->required();
    command.add_option("--config", options->config, "container configuration, - for standard input")->required();
    command.add_option("--pod-config", options->pod_config,
                       "the pod's configuration; other runtimes than davitd need it for logs");
    command.callback([&to, options] { to.action = [options](const Context& c) { return CtrCreate(c, *options); }; });
  }
  {
    CLI::App& command = Command(ctr, "start", "Start created containers.", "davit ctr start --id 81bc");
    auto ids = AddIds(command, "container");
    command.callback([&to, ids] { to.action = [ids](const Context& c) { return CtrStart(c, *ids); }; });
  }
  {
    CLI::App& command = Command(ctr, "status", "Show one container.", "davit ctr status --id 81bc -o json");
    auto ids = AddIds(command, "container", true);
    command.callback([&to, ids] { to.action = [ids](const Context& c) { return CtrStatus(c, ids->front()); }; });
  }
  {
    CLI::App& command = Command(ctr, "stop", "Stop containers.", "davit ctr stop --timeout 30 web");
    auto ids = AddIds(command, "container");
    auto grace = std::make_shared<int64_t>(10);
    command.add_option("--timeout", *grace, "seconds from the stop signal to SIGKILL")
        ->capture_default_str()
        ->check(CLI::Range(int64_t{0}, int64_t{86400}));
    command.callback(
        [&to, ids, grace] { to.action = [ids, grace](const Context& c) { return CtrStop(c, *ids, *grace); }; });
  }
  {
    CLI::App& command = Command(ctr, "remove", "Remove containers.", "davit ctr remove --id 81bc");
    command.alias("rm");
    auto ids = AddIds(command, "container");
    auto force = std::make_shared<bool>(false);
    command.add_flag("-f,--force", *force, "kill them first");
    command.callback(
        [&to, ids, force] { to.action = [ids, force](const Context& c) { return CtrRemove(c, *ids, *force); }; });
  }
  {
    CLI::App& command =
        Command(ctr, "list", "List containers, the newest first.", "davit ctr list --pod web --state running");
    command.alias("ls");
    auto options = std::make_shared<ListOptions>();
    AddListFlags(command, *options, "created, running, exited, unknown");
    command.add_option("--pod", options->pod, "only of this pod");
    command.callback([&to, options] { to.action = [options](const Context& c) { return CtrList(c, *options); }; });
  }
}

void AddCtrUpdate(CLI::App& ctr, Invocation& to) {
  CLI::App& command = Command(ctr, "update", "Change limits of created or running containers, all or none.",
                              "davit ctr update --memory 256MiB --cpu-shares 512 web");
  auto options = std::make_shared<CtrUpdateOptions>();
  auto ids = AddIds(command, "container");
  command.add_option("--cpu-shares", options->cpu_shares, "weight, 2 to 262144");
  command.add_option("--cpu-quota", options->cpu_quota, "microseconds in a period; -1 for no limit");
  command.add_option("--cpu-period", options->cpu_period, "microseconds");
  command.add_option("--memory", options->memory, "bytes, or with a unit: 256MiB")->transform(CLI::AsSizeValue(false));
  command.add_option("--memory-swap", options->memory_swap, "memory and swap together")
      ->transform(CLI::AsSizeValue(false));
  command.add_option("--cpuset-cpus", options->cpuset_cpus, "processors, 0-3,7");
  command.add_option("--cpuset-mems", options->cpuset_mems, "memory nodes");
  command.callback([&to, ids, options] {
    options->ids = *ids;
    to.action = [options](const Context& c) { return CtrUpdate(c, *options); };
  });
}

void AddCtrCommands(CLI::App& app, Invocation& to) {
  CLI::App& ctr = Group(app, "ctr", "work with containers");
  AddCtrLifeCommands(ctr, to);
  AddCtrUpdate(ctr, to);
  AddExec(ctr, to, "exec", false);
  AddExec(ctr, to, "execsync", true);
  {
    CLI::App& command =
        Command(ctr, "attach", "Watch a container's output, with -i type into it (ctrl-p ctrl-q leaves).",
                "davit ctr attach -i web");
    auto ids = AddIds(command, "container", true);
    auto interactive = std::make_shared<bool>(false);
    command.add_flag("-i,--interactive", *interactive, "pass on standard input");
    command.callback([&to, ids, interactive] {
      to.action = [ids, interactive](const Context& c) { return CtrAttach(c, ids->front(), *interactive); };
    });
  }
  {
    CLI::App& command = Command(ctr, "logs", "Print a container's log.", "davit ctr logs -f --tail 20 web");
    auto ids = AddIds(command, "container", true);
    auto options = std::make_shared<LogsOptions>();
    command.add_flag("-f,--follow", options->follow, "until the container ends");
    command.add_option("--tail", options->tail, "only the last lines");
    command.add_flag("-t,--timestamps", options->timestamps, "the time in front of each line");
    command.callback([&to, ids, options] {
      options->id = ids->front();
      to.action = [options](const Context& c) { return CtrLogs(c, *options); };
    });
  }
}

void AddPortForward(CLI::App& app, Invocation& to) {
  CLI::App& command =
      Command(app, "port-forward", "Carry connections to loopback ports of this machine to ports of a pod.",
              "davit port-forward web 8080:80");
  auto pod = std::make_shared<std::string>();
  auto ports = std::make_shared<Ids>();
  command.add_option("POD", *pod, "pod: id, beginning of one, or name")->required();
  command.add_option("PORT", *ports, "[LOCAL:]REMOTE; an empty LOCAL takes a free port")->required();
  command.callback(
      [&to, pod, ports] { to.action = [pod, ports](const Context& c) { return PortForward(c, *pod, *ports); }; });
}

}  // namespace

void AddCommands(CLI::App& app, Invocation& to) {
  AddContainerVerbs(app, to);
  AddImageVerbs(app, to);
  AddObjectVerbs(app, to);
  AddPodCommands(app, to);
  AddCtrCommands(app, to);
  AddPortForward(app, to);
  AddDiskFree(app, to, "df");
  CLI::App& info = Command(app, "info", "Show the runtime and its condition.", "davit info");
  info.callback([&to] { to.action = [](const Context& c) { return Info(c); }; });
  CLI::App& version = Command(app, "runtimeversion", "Show the runtime's version.", "davit runtimeversion");
  version.callback([&to] { to.action = [](const Context& c) { return RuntimeVersion(c); }; });
}

}  // namespace davit::cli
