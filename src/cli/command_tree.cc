#include "cli/command_tree.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/take_over.h"

namespace davit::cli {
namespace {

using Ids = std::vector<std::string>;

// The words after the flags: an object, then a command that keeps its own flags.
Ids Words(const CLI::App& command) {
  Ids words = command.remaining();
  std::erase_if(
      words, [first = true](const std::string& word) mutable { return std::exchange(first, false) && word == "--"; });
  return words;
}

CLI::App& Command(CLI::App& parent, const std::string& name, const std::string& help, const std::string& example) {
  CLI::App* command = parent.add_subcommand(name, help + "\n\nExample:\n  " + example);
  command->fallthrough();  // --connect, -o and the like work behind the command too
  return *command;
}

// The usage line of a command whose words the library does not know.
class WordsFormatter final : public CLI::Formatter {
 public:
  explicit WordsFormatter(std::string words) : words_(std::move(words)) {}
  std::string make_usage(const CLI::App*, std::string name) const override {
    return "Usage: " + name + " [OPTIONS] " + words_ + "\n";
  }

 private:
  const std::string words_;
};

// From the first word that is no flag on, everything is the command's. Flags of davit itself then have to
// come before: falling through to the parent would take the words apart.
void KeepWords(CLI::App& command, const char* words) {
  command.formatter(std::make_shared<WordsFormatter>(words));
  command.fallthrough(false);
  command.prefix_command();
}

CLI::App& Group(CLI::App& app, const std::string& name, const std::string& help) {
  CLI::App* group = app.add_subcommand(name, help);
  group->require_subcommand(1);
  group->fallthrough();
  return *group;
}

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
  CLI::App& pod = Group(app, "pod", "work with pods");
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

void AddImageCommands(CLI::App& app, Invocation& to) {
  CLI::App& image = Group(app, "image", "work with images");
  {
    CLI::App& command = Command(image, "pull", "Pull an image and print its id.",
                                "davit image pull docker.io/library/redis:7\n"
                                "davit image pull --explain registry.example/team/app:1");
    auto options = std::make_shared<ImagePullOptions>();
    command.add_option("REF", options->reference, "image reference")->required();
    auto* plain = command.add_option("--creds", options->credentials,
                                     "user:password (seen by everyone on the node; prefer --creds-file)");
    command.add_option("--creds-file", options->credentials_file, "file with user:password, - for standard input")
        ->excludes(plain);
    command.add_flag("--explain", options->explain,
                     "print each endpoint that was asked, who configured it, where the credentials came from, and what "
                     "it said");
    command.callback([&to, options] { to.action = [options](const Context& c) { return ImagePull(c, *options); }; });
  }
  {
    CLI::App& command = Command(image, "load",
                                "Load images from an archive: of docker save, podman save, skopeo, or an "
                                "OCI layout directory.",
                                "davit image load -i images.tar\n"
                                "xzcat images.tar.xz | davit image load");
    auto input = std::make_shared<std::string>("-");
    auto quiet = std::make_shared<bool>(false);
    command.add_option("-i,--input", *input, "file or directory, as davitd sees it; - for standard input");
    command.add_flag("-q,--quiet", *quiet, "only names, or the id of an image without one");
    command.callback(
        [&to, input, quiet] { to.action = [input, quiet](const Context& c) { return ImageLoad(c, *input, *quiet); }; });
  }
  {
    CLI::App& command =
        Command(image, "import",
                "Make an image of one layer of a root filesystem (a tar, packed or not), or take over the images of "
                "another engine on this node.",
                "davit image import -c 'CMD [\"/bin/app\"]' rootfs.tar.gz example.org/app:1\n"
                "davit image import --from containers-storage\n"
                "davit image import --from containerd docker.io/library/redis:7");
    auto options = std::make_shared<ImageImportOptions>();
    command
        .add_option("-c,--change", options->changes,
                    "instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, "
                    "LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR")
        ->type_size(1)
        ->allow_extra_args(false);
    command.add_option("-m,--message", options->message, "comment in the image's history");
    command.add_option("--platform", options->platform, "OS/ARCHITECTURE[/VARIANT]; the node's unless given");
    command.add_flag("-q,--quiet", options->quiet, "no progress");
    auto other = std::make_shared<TakeOverOptions>();
    auto words = std::make_shared<Ids>();
    command.add_option(
        "--from", other->from,
        "the engine whose images are taken over: containers-storage (podman, buildah, CRI-O) or containerd");
    command.add_option(
        "--store", other->where,
        "with --from: directory of containers-storage or socket of containerd; the usual one unless given");
    command.add_option("--namespace", other->name_space, "with --from containerd: its namespace")
        ->capture_default_str();
    command.add_option(
        "FILE", *words,
        "file (- for standard input) and after it the name of the image (none: its id alone); with --from "
        "the images, all that have a name when there are none");
    command.callback([&to, options, other, words] {
      if (!other->from.empty()) {
        other->images = *words;
        other->quiet = options->quiet;
        to.action = [other](const Context& c) { return ImageTakeOver(c, *other); };
        return;
      }
      if (words->empty()) throw CLI::RequiredError("FILE");
      if (words->size() > 2) throw CLI::ExtrasError(std::vector<std::string>(words->begin() + 2, words->end()));
      options->input = words->front();
      if (words->size() == 2) options->reference = words->back();
      to.action = [options](const Context& c) { return ImageImport(c, *options); };
    });
  }
  {
    CLI::App& command = Command(image, "save",
                                "Save images into one archive, which davit, docker, podman and skopeo load again under "
                                "the same ids.",
                                "davit image save -o images.tar redis:7 nginx:1\n"
                                "  davit image save --format oci-dir -o layout redis:7\n"
                                "  davit image save redis:7 | ssh node2 davit image load");
    auto options = std::make_shared<ImageSaveOptions>();
    // Not the -o of all other commands: here it is what it is in docker and podman.
    command.add_option("-o,--output", options->output, "file, or directory of oci-dir; - for standard output");
    command.add_option("--format", options->format, "docker-archive, oci-archive or oci-dir")
        ->check(CLI::IsMember({"docker-archive", "oci-archive", "oci-dir"}))
        ->capture_default_str();
    command.add_flag("--compress", options->compress, "the layers with gzip; the ids stay");
    command.add_flag("-q,--quiet", options->quiet, "no progress");
    command.add_option("IMAGE", options->images, "image references or ids")->required();
    command.callback([&to, options] { to.action = [options](const Context& c) { return ImageSave(c, *options); }; });
  }
  {
    CLI::App& command = Command(image, "list", "List images.", "davit image list -o json");
    command.alias("ls");
    auto filter = std::make_shared<std::string>();
    auto quiet = std::make_shared<bool>(false);
    command.add_option("REF", *filter, "only this image");
    command.add_flag("-q,--quiet", *quiet, "only ids");
    command.callback([&to, filter, quiet] {
      to.action = [filter, quiet](const Context& c) { return ImageList(c, *filter, *quiet); };
    });
  }
  {
    CLI::App& command = Command(image, "status", "Show one image.", "davit image status redis:7");
    auto reference = std::make_shared<std::string>();
    command.add_option("REF", *reference, "image reference or id")->required();
    command.callback(
        [&to, reference] { to.action = [reference](const Context& c) { return ImageStatus(c, *reference); }; });
  }
  {
    CLI::App& command = Command(image, "verify",
                                "Check that images are what their digests say. What is damaged is taken out of use: a "
                                "pull fetches just it. Exits with 1 when there is damage.",
                                "davit image verify");
    auto images = std::make_shared<Ids>();
    auto quiet = std::make_shared<bool>(false);
    command.add_option("IMAGE", *images, "image references or ids; all images when there are none");
    command.add_flag("-q,--quiet", *quiet, "no progress");
    command.callback([&to, images, quiet] {
      to.action = [images, quiet](const Context& c) { return ImageVerify(c, *images, *quiet); };
    });
  }
  {
    CLI::App& command = Command(image, "remove", "Remove images.", "davit image remove redis:7");
    command.alias("rm");
    auto references = std::make_shared<Ids>();
    command.add_option("REF", *references, "image references or ids")->required();
    command.callback(
        [&to, references] { to.action = [references](const Context& c) { return ImageRemove(c, *references); }; });
  }
}

void AddRunFlags(CLI::App& command, RunOptions& o) {
  command.add_option("--name", o.name, "name of pod and container");
  command.add_flag("--rm", o.remove, "remove the pod at the end");
  command.add_flag("-i,--interactive", o.interactive, "pass on standard input");
  command.add_flag("-t,--tty", o.terminal, "give it a terminal");
  command.add_flag("-d,--detach", o.detach, "print the ids of pod and container and leave it running");
  // One value a flag: the image follows.
  auto list = [&](const char* flag, std::vector<std::string>& to, const char* help) {
    command.add_option(flag, to, help)->type_size(1)->allow_extra_args(false);
  };
  list("-e,--env", o.env, "variable KEY=VALUE, or KEY from this environment");
  list("-v,--volume", o.volumes, "mount SOURCE:TARGET[:ro]");
  list("-p,--publish", o.ports, "port [ADDRESS:]HOST:CONTAINER[/udp]");
  list("--label", o.labels, "label KEY=VALUE of pod and container");
  command.add_option("-w,--workdir", o.workdir, "working directory");
  command.add_option("-u,--user", o.user, "user, by name or number, or UID:GID");
  command.add_option("--runtime", o.handler, "runtime handler");
  command.add_option("--net", o.network, "pod or host")->capture_default_str();
  command.add_option("--log-dir", o.log_directory, "directory for the log's directory")->capture_default_str();
}

void AddRun(CLI::App& app, Invocation& to) {
  CLI::App& command = Command(app, "run", "Run a container in a pod of its own, pulling its image if absent.",
                              "davit run --rm -it -v /srv:/srv:ro docker.io/library/busybox sh");
  auto options = std::make_shared<RunOptions>();
  AddRunFlags(command, *options);
  KeepWords(command, "IMAGE [COMMAND [ARGUMENT...]]");
  command.callback([&to, &command, options] {
    Ids words = Words(command);
    if (words.empty() || words.front().starts_with("-")) {
      to.usage_error = words.empty() ? "run needs an image" : "run: unknown option " + words.front();
      return;
    }
    options->image = words.front();
    options->command.assign(words.begin() + 1, words.end());
    to.is_run = true;
    to.action = [options](const Context& c) { return Run(c, *options); };
  });
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
  AddRun(app, to);
  AddPodCommands(app, to);
  AddCtrCommands(app, to);
  AddImageCommands(app, to);
  AddPortForward(app, to);
  CLI::App& events =
      Command(app, "events", "Show what happens to pods and containers, until a signal.", "davit -o json events");
  events.callback([&to] { to.action = [](const Context& c) { return Events(c); }; });
  {
    CLI::App& df = Command(app, "df", "Show whose each byte of the store is, and what can be freed.", "davit df -v");
    auto details = std::make_shared<bool>(false);
    auto wait = std::make_shared<int64_t>(10);
    df.add_flag("-v,--verbose", *details, "every image, layer, container and directory");
    df.add_option("--wait", *wait, "seconds to wait for a measurement that goes on; then lower bounds are shown")
        ->check(CLI::Range(0, 3600))
        ->capture_default_str();
    df.callback([&to, details, wait] {
      to.action = [details, wait](const Context& c) { return DiskFree(c, *details, *wait); };
    });
  }
  CLI::App& info = Command(app, "info", "Show the runtime and its condition.", "davit info");
  info.callback([&to] { to.action = [](const Context& c) { return Info(c); }; });
  CLI::App& version = Command(app, "runtimeversion", "Show the runtime's version.", "davit runtimeversion");
  version.callback([&to] { to.action = [](const Context& c) { return RuntimeVersion(c); }; });
}

}  // namespace davit::cli
