#include "cli/run_tree.h"

#include "cli/tree_parts.h"

namespace davit::cli {
namespace {

constexpr char kNetwork[] = "Network";
constexpr char kFiles[] = "Files";
constexpr char kLimits[] = "Limits";
constexpr char kSecurity[] = "Security";
constexpr char kHealth[] = "Health and end";

void AddProcessFlags(CLI::App& command, RunOptions& o, bool run) {
  if (run) command.add_flag("-d,--detach", o.detach, "print the id and leave it running");
  command.add_flag("--rm", o.remove, "remove it, and its anonymous volumes, at its end");
  command.add_flag("-i,--interactive", o.interactive, "pass on standard input");
  command.add_flag("-t,--tty", o.terminal, "give it a terminal (ctrl-p ctrl-q leaves it)");
  AddList(command, "-e,--env", o.env, "variable KEY=VALUE, or KEY from this environment");
  AddList(command, "--env-file", o.env_files, "file with a variable on each line");
  command.add_option("-w,--workdir", o.workdir, "working directory");
  command.add_option("-u,--user", o.user, "user, by name or number, or UID:GID");
  command.add_option("--entrypoint", o.entrypoint, "instead of the image's; \"\" for none, or a JSON array");
  command.add_flag("--init", o.init, "a small init reaps and passes on signals");
  AddList(command, "--label-file", o.label_files, "file with a label on each line");
  AddList(command, "--annotation", o.annotations, "annotation KEY=VALUE");
  command.add_option("--pod", o.pod, "in this standalone pod (davit pod create)");
  command.add_option("--pull", o.pull, "the image: missing, always, newer or never")->capture_default_str();
  command.add_option("--cidfile", o.id_file, "file that gets the id");
  command.add_option("--umask", o.umask, "octal");
}

void AddFileFlags(CLI::App& command, RunOptions& o) {
  AddList(command, "-v,--volume", o.volumes, "[VOLUME|/PATH:]TARGET[:ro,z,nocopy,shared,slave]").group(kFiles);
  AddList(command, "--mount", o.mounts, "type=bind|volume|tmpfs,source=…,target=…[,readonly]").group(kFiles);
  AddList(command, "--tmpfs", o.tmpfs, "TARGET[:size=64m,mode=1777]").group(kFiles);
  AddList(command, "--device", o.devices, "/dev/HOST[:/dev/CONTAINER[:rwm]], or vendor.com/class=name of CDI")
      .group(kFiles);
  command.add_flag("--read-only", o.read_only, "its root cannot be written")->group(kFiles);
}

void AddSecurityFlags(CLI::App& command, RunOptions& o) {
  command.add_flag("--privileged", o.privileged, "with all that the node may do")->group(kSecurity);
  AddList(command, "--cap-add", o.capabilities, "capability, or ALL").group(kSecurity);
  AddList(command, "--cap-drop", o.dropped_capabilities, "capability, or ALL").group(kSecurity);
  AddList(command, "--security-opt", o.security, "no-new-privileges, seccomp=…, apparmor=…, label=disable")
      .group(kSecurity);
  AddList(command, "--group-add", o.groups, "additional group, a number").group(kSecurity);
  command.add_option("--pid", o.pid, "host: the node's processes")->group(kSecurity);
  command.add_option("--ipc", o.ipc, "host: the node's")->group(kSecurity);
}

void AddEndFlags(CLI::App& command, RunOptions& o) {
  command.add_option("--restart", o.restart, "no, on-failure[:TIMES], always or unless-stopped")->group(kHealth);
  command.add_option("--stop-signal", o.stop_signal, "instead of the image's or SIGTERM")->group(kHealth);
  command.add_option("--stop-timeout", o.stop_timeout, "seconds until SIGKILL")->group(kHealth);
  command.add_option("--health-cmd", o.health_command, "line for a shell in it")->group(kHealth);
  command.add_option("--health-interval", o.health_interval, "30s unless given")->group(kHealth);
  command.add_option("--health-timeout", o.health_timeout, "30s unless given")->group(kHealth);
  command.add_option("--health-start-period", o.health_start_period, "failures in it do not count")->group(kHealth);
  command.add_option("--health-retries", o.health_retries, "failures to be unhealthy; 3 unless given")->group(kHealth);
  command.add_option("--health-on-failure", o.health_on_failure, "none, kill, restart or stop")
      ->check(CLI::IsMember({"none", "kill", "restart", "stop"}))
      ->group(kHealth);
  command.add_flag("--no-healthcheck", o.no_health, "not the image's either")->group(kHealth);
}

}  // namespace

void AddPodFlags(CLI::App& command, RunOptions& o) {
  command.add_option("--name", o.name, "its name; one is chosen unless given");
  AddList(command, "-l,--label", o.labels, "label KEY=VALUE");
  command.add_option("--runtime", o.handler, "runtime handler");
  AddList(command, "--network,--net", o.networks, "name of a network, host or none; several are several interfaces")
      .group(kNetwork);
  AddList(command, "--network-alias", o.aliases, "further name on the first network").group(kNetwork);
  command.add_option("--ip", o.address, "IPv4 address on the first network")->group(kNetwork);
  AddList(command, "-p,--publish", o.ports, "[ADDRESS:][HOST]:CONTAINER[/udp], ranges too").group(kNetwork);
  command.add_option("--hostname", o.hostname, "its id unless given")->group(kNetwork);
  AddList(command, "--add-host", o.hosts, "line of /etc/hosts, NAME:ADDRESS").group(kNetwork);
  AddList(command, "--dns", o.dns, "name server").group(kNetwork);
  AddList(command, "--dns-search", o.dns_search, "search domain").group(kNetwork);
  AddList(command, "--dns-option", o.dns_options, "option of resolv.conf").group(kNetwork);
  AddList(command, "--sysctl", o.sysctls, "KEY=VALUE").group(kSecurity);
}

void AddLimitFlags(CLI::App& command, RunOptions& o) {
  command.add_option("-m,--memory", o.memory, "256m, 1.5g")->group(kLimits);
  command.add_option("--memory-swap", o.memory_swap, "memory and swap together; -1 for no limit")->group(kLimits);
  command.add_option("--cpus", o.cpus, "processors: 1.5")->group(kLimits);
  command.add_option("--cpu-shares", o.cpu_shares, "weight, 2 to 262144")->group(kLimits);
  command.add_option("--cpuset-cpus", o.cpuset_cpus, "processors, 0-3,7")->group(kLimits);
  command.add_option("--cpuset-mems", o.cpuset_mems, "memory nodes")->group(kLimits);
  command.add_option("--pids-limit", o.pids_limit, "processes and threads")->group(kLimits);
}

void AddRunFlags(CLI::App& command, RunOptions& o, bool run) {
  AddProcessFlags(command, o, run);
  AddPodFlags(command, o);
  command.add_flag("-P,--publish-all", o.publish_all, "each port that the image exposes, on one that is free")
      ->group(kNetwork);
  AddFileFlags(command, o);
  AddLimitFlags(command, o);
  AddList(command, "--ulimit", o.ulimits, "NAME=SOFT[:HARD]").group(kLimits);
  AddList(command, "--log-opt", o.log_options, "max-size=SIZE or max-file=COUNT of its log").group(kLimits);
  command.add_option("--oom-score-adj", o.oom_score, "-1000 to 1000")->group(kLimits);
  AddSecurityFlags(command, o);
  AddEndFlags(command, o);
  if (run) {
    command.add_option("--log-dir", o.log_directory, "with another runtime: where the log's directory is made")
        ->capture_default_str();
  }
}

}  // namespace davit::cli
