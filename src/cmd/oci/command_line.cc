#include "cmd/oci/command_line.h"

#include <CLI/CLI.hpp>
#include <functional>

#include "base/strings.h"
#include "base/version.h"
#include "cmd/oci/report.h"
#include "cmd/oci/verbs.h"

namespace davit::oci_cli {
namespace {

constexpr int kError = 1;
constexpr int kExecError = 255;

// What was asked for, once the command line is whole.
struct Asked {
  std::function<Result<int>()> verb;
  int error_code = kError;
  Globals globals;
};

Result<int> Code(const Status& status) { return status.ok() ? Result<int>(0) : Result<int>(status); }

CLI::App& Verb(CLI::App& app, const char* name, const char* help, const char* example) {
  CLI::App* verb = app.add_subcommand(name, help);
  verb->footer(std::string("Example:\n  ") + example);
  return *verb;
}

void AddId(CLI::App& verb, std::string& id) { verb.add_option("ID", id, "the container's id")->required(); }

void AddStart(CLI::App& verb, StartOptions& options) {
  verb.add_option("--console-socket", options.console_socket, "AF_UNIX socket that is sent the terminal's master");
  verb.add_option("--pid-file", options.pid_file, "file for the process's id");
  verb.add_option("--preserve-fds", options.preserve_fds, "pass this many descriptors on, from 3")
      ->check(CLI::Range(0, 1024));
  verb.add_flag("--no-new-keyring", options.no_new_keyring, "keep the caller's session keyring");
}

void AddCreate(CLI::App& app, Asked& asked) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& verb = Verb(app, "create", "make a container from a bundle, ready to start",
                        "davit-oci create --bundle /srv/web --pid-file /run/web.pid web");
  verb.add_option("-b,--bundle", options->bundle, "directory with config.json (default: the working directory)");
  verb.add_flag("--no-pivot", options->no_pivot, "the root is on a ramfs: move it instead of pivot_root(2)");
  AddStart(verb, *options);
  AddId(verb, options->id);
  verb.callback(
      [&asked, options] { asked.verb = [&asked, options] { return Code(Create(asked.globals, *options)); }; });
}

void AddRun(CLI::App& app, Asked& asked) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& verb = Verb(app, "run", "create and start a container, and remove it when its process has ended",
                        "davit-oci run --bundle /srv/web web");
  verb.add_option("-b,--bundle", options->bundle, "directory with config.json (default: the working directory)");
  verb.add_flag("-d,--detach", options->detach, "return when it runs; it stays until it is deleted");
  verb.add_flag("--keep", options->keep, "do not remove it when its process has ended");
  verb.add_flag("--no-pivot", options->no_pivot, "the root is on a ramfs: move it instead of pivot_root(2)");
  verb.add_flag("--no-subreaper")->description("accepted: davit-oci adopts no orphans");
  AddStart(verb, *options);
  AddId(verb, options->id);
  verb.callback([&asked, options] { asked.verb = [&asked, options] { return Run(asked.globals, *options); }; });
}

void AddExecFlags(CLI::App& verb, ExecOptions& options) {
  verb.add_option("-p,--process", options.process, "file with the process, in place of a command line");
  verb.add_flag("-d,--detach", options.detach, "return when it runs");
  verb.add_flag("-t,--tty", options.tty, "with a terminal");
  verb.add_option("--cwd", options.cwd, "working directory");
  verb.add_option("-e,--env", options.env, "NAME=VALUE beside the container's own; may be repeated")
      ->allow_extra_args(false);
  verb.add_option("-u,--user", options.user, "UID[:GID]");
  verb.add_option("-g,--additional-gids", options.additional_gids, "one more group; may be repeated")
      ->allow_extra_args(false);
  verb.add_option("-c,--cap", options.caps, "one more capability; may be repeated")->allow_extra_args(false);
  verb.add_option("--apparmor", options.apparmor, "AppArmor profile");
  verb.add_option("--process-label", options.process_label, "SELinux label");
  verb.add_flag("--no-new-privs", options.no_new_privs, "set no_new_privs");
  verb.add_flag("--ignore-paused", options.ignore_paused, "also while the container is paused: it waits there");
  verb.add_option("--cgroup", options.cgroups, "in this cgroup below the container's")->allow_extra_args(false);
}

void AddExec(CLI::App& app, Asked& asked) {
  auto options = std::make_shared<ExecOptions>();
  CLI::App& verb = Verb(app, "exec", "run one more program in a container: exec [flags] ID [PROGRAM [ARGUMENT...]]",
                        "davit-oci exec --tty web sh -c 'ls -l'");
  AddExecFlags(verb, *options);
  AddStart(verb, *options);
  verb.prefix_command();  // everything behind the id is the program's
  verb.callback([&asked, options, &verb] {
    std::vector<std::string> words = verb.remaining();
    if (!words.empty() && words[0] == "--") words.erase(words.begin());
    if (words.empty()) throw CLI::RequiredError("ID");
    if (words[0][0] == '-') throw CLI::ExtrasError("exec", {words[0]});
    options->id = words[0];
    options->args.assign(words.begin() + 1, words.end());
    if (!options->args.empty() && options->args[0] == "--") options->args.erase(options->args.begin());
    asked.error_code = kExecError;
    asked.verb = [&asked, options] { return Exec(asked.globals, *options); };
  });
}

void AddKill(CLI::App& app, Asked& asked) {
  auto options = std::make_shared<KillOptions>();
  CLI::App& verb =
      Verb(app, "kill", "send a signal (default: SIGTERM) to the container's process", "davit-oci kill web KILL");
  verb.add_flag("-a,--all", options->all, "to all of its processes");
  AddId(verb, options->id);
  verb.add_option("SIGNAL", options->signal, "name or number");
  verb.callback([&asked, options] { asked.verb = [&asked, options] { return Code(Kill(asked.globals, *options)); }; });
}

// Verbs that take an id alone.
void AddSimple(CLI::App& app, Asked& asked, const char* name, const char* help, const char* example,
               Status (*function)(const Globals&, const std::string&)) {
  auto id = std::make_shared<std::string>();
  CLI::App& verb = Verb(app, name, help, example);
  AddId(verb, *id);
  verb.callback(
      [&asked, id, function] { asked.verb = [&asked, id, function] { return Code(function(asked.globals, *id)); }; });
}

void AddDelete(CLI::App& app, Asked& asked) {
  auto id = std::make_shared<std::string>();
  auto force = std::make_shared<bool>(false);
  CLI::App& verb = Verb(app, "delete", "remove a container that has ended", "davit-oci delete --force web");
  verb.add_flag("-f,--force", *force, "kill what still runs; one that is not there is no error");
  AddId(verb, *id);
  verb.callback(
      [&asked, id, force] { asked.verb = [&asked, id, force] { return Code(Delete(asked.globals, *id, *force)); }; });
}

void AddQueries(CLI::App& app, Asked& asked) {
  AddSimple(app, asked, "state", "print the container's state as JSON", "davit-oci state web", PrintState);
  auto list = std::make_shared<ListOptions>();
  CLI::App& list_verb = Verb(app, "list", "list the containers below --root", "davit-oci list --format json");
  list_verb.add_option("-f,--format", list->format, "table or json")->check(CLI::IsMember({"table", "json"}));
  list_verb.add_flag("-q,--quiet", list->quiet, "ids alone");
  list_verb.callback([&asked, list] { asked.verb = [&asked, list] { return Code(List(asked.globals, *list)); }; });

  auto ps = std::make_shared<PsOptions>();
  CLI::App& ps_verb = Verb(app, "ps", "show the container's processes: ps [-f json] ID [ARGUMENT OF PS...]",
                           "davit-oci ps web -o pid,args");
  ps_verb.add_option("-f,--format", ps->format, "table or json")->check(CLI::IsMember({"table", "json"}));
  ps_verb.prefix_command();
  ps_verb.callback([&asked, ps, &ps_verb] {
    std::vector<std::string> words = ps_verb.remaining();
    if (words.empty()) throw CLI::RequiredError("ID");
    if (words[0][0] == '-') throw CLI::ExtrasError("ps", {words[0]});
    ps->id = words[0];
    ps->arguments.assign(words.begin() + 1, words.end());
    asked.verb = [&asked, ps] { return Code(Ps(asked.globals, *ps)); };
  });

  auto events = std::make_shared<EventsOptions>();
  CLI::App& events_verb = Verb(app, "events", "print statistics and out-of-memory kills as JSON, until it ends",
                               "davit-oci events --stats web");
  events_verb.add_flag("--stats", events->once, "once, and end");
  events_verb.add_option("--interval", events->interval, "time between two (default: 5s)");
  AddId(events_verb, events->id);
  events_verb.callback(
      [&asked, events] { asked.verb = [&asked, events] { return Code(Events(asked.globals, *events)); }; });

  Verb(app, "features", "print what this runtime can do, as JSON", "davit-oci features").callback([&asked] {
    asked.verb = [] { return Code(PrintFeatures()); };
  });
  auto bundle = std::make_shared<std::string>(".");
  auto rootless = std::make_shared<bool>(false);
  CLI::App& spec = Verb(app, "spec", "write a config.json to begin with", "davit-oci spec --bundle /srv/web");
  spec.add_option("-b,--bundle", *bundle, "directory for it");
  spec.add_flag("--rootless", *rootless, "with a user namespace");
  spec.callback(
      [&asked, bundle, rootless] { asked.verb = [bundle, rootless] { return Code(WriteSpec(*bundle, *rootless)); }; });
}

// The limits one by one, with runc's and crun's names. Memory takes plain bytes, and -1 for none.
void AddLimits(CLI::App& verb, UpdateOptions& options) {
  oci::Resources& changes = options.changes;
  verb.add_option("--blkio-weight", changes.block_io.weight, "10 to 1000");
  verb.add_option("--cpu-period", changes.cpu.period, "microseconds");
  verb.add_option("--cpu-quota", changes.cpu.quota, "microseconds in a period");
  verb.add_option("--cpu-burst", changes.cpu.burst, "microseconds");
  verb.add_option("--cpu-share", changes.cpu.shares, "weight against others");
  verb.add_option("--cpu-rt-period", changes.cpu.realtime_period, "microseconds");
  verb.add_option("--cpu-rt-runtime", changes.cpu.realtime_runtime, "microseconds in a period");
  verb.add_option("--cpu-idle", changes.cpu.idle, "0 or 1");
  verb.add_option("--cpuset-cpus", changes.cpu.cpus, "CPUs, such as 0-3,7");
  verb.add_option("--cpuset-mems", changes.cpu.mems, "memory nodes");
  verb.add_option("--kernel-memory", changes.memory.kernel, "accepted; kernels have no such limit any more");
  verb.add_option("--kernel-memory-tcp", changes.memory.kernel_tcp, "bytes for TCP buffers");
  verb.add_option("--memory", changes.memory.limit, "bytes");
  verb.add_option("--memory-reservation", changes.memory.reservation, "bytes");
  verb.add_option("--memory-swap", changes.memory.swap, "bytes of memory and swap together");
  verb.add_option("--pids-limit", changes.pids_limit, "processes and threads");
  verb.add_option("--l3-cache-schema", options.l3_cache_schema, "of intelRdt");
  verb.add_option("--mem-bw-schema", options.mem_bw_schema, "of intelRdt");
}

void AddUpdate(CLI::App& app, Asked& asked) {
  auto options = std::make_shared<UpdateOptions>();
  CLI::App& verb =
      Verb(app, "update", "change limits of a container", "davit-oci update --memory 268435456 --pids-limit 100 web");
  verb.add_option("-r,--resources", options->file, "file with linux.resources; - is stdin");
  AddLimits(verb, *options);
  AddId(verb, options->id);
  verb.callback(
      [&asked, options] { asked.verb = [&asked, options] { return Code(Update(asked.globals, *options)); }; });
}

void AddGlobals(CLI::App& app, Globals& globals) {
  app.add_option("--root", globals.root, "directory for the state of containers (default: /run/davit-oci)");
  app.add_option("--log", globals.log, "file for errors and warnings (default: stderr)");
  app.add_option("--log-format", globals.log_format, "text or json")->check(CLI::IsMember({"text", "json"}));
  app.add_flag("--debug", globals.debug, "tell more");
  app.add_flag("--systemd-cgroup", globals.systemd_cgroup,
               "have systemd make the cgroup; linux.cgroupsPath is slice:prefix:name");
  app.add_option("--rootless")->description("accepted, as runc takes it");
  app.add_option("--criu")->description("accepted; there are no checkpoints here");
  app.set_version_flag("-v,--version", std::string("davit-oci version ") + kVersion + "\nspec: 1.3.0");
}

}  // namespace

int Main(int argc, char** argv) {
  CLI::App app("Runs containers from OCI bundles (runtime-spec 1.3).", "davit-oci");
  app.footer("Example:\n  davit-oci spec --bundle /srv/web && davit-oci run --bundle /srv/web web\nMore: davit-oci(8)");
  app.require_subcommand(1);
  Asked asked;
  AddGlobals(app, asked.globals);
  AddCreate(app, asked);
  AddRun(app, asked);
  AddSimple(app, asked, "start", "execute the program of a container that was created", "davit-oci start web",
            StartContainer);
  AddExec(app, asked);
  AddKill(app, asked);
  AddDelete(app, asked);
  AddSimple(app, asked, "pause", "stop all of its processes where they are", "davit-oci pause web", Pause);
  AddSimple(app, asked, "resume", "let them go on", "davit-oci resume web", Resume);
  AddUpdate(app, asked);
  AddQueries(app, asked);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : (app.exit(error), kError);
  }
  Result<int> code = kError;
  Status log = OpenLog(asked.globals);
  code = log.ok() ? asked.verb() : Result<int>(log);
  if (code.ok()) return *code;
  ReportError(code.status());
  return asked.error_code;
}

}  // namespace davit::oci_cli
