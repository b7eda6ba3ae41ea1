// Containers in the command tree: run, ps, logs, exec and the like, as people type them.
#include "cli/everyday.h"
#include "cli/everyday_tree.h"
#include "cli/run_tree.h"
#include "cli/tree_parts.h"

namespace davit::cli {
namespace {

constexpr char kContainers[] = "Containers";

CLI::App& Verb(CLI::App& app, const char* name, const char* help, const char* example) {
  CLI::App& command = Command(app, name, help, example);
  command.group(kContainers);
  return command;
}

void AddRunOrCreate(CLI::App& app, Invocation& to, bool run) {
  CLI::App& command =
      run ? Verb(app, "run", "Run a command in a new container, pulling its image if absent.",
                 "davit run --rm -it -v /srv:/srv:ro docker.io/library/busybox sh\n"
                 "  davit run -d --name web -p 8080:80 --restart always docker.io/library/nginx")
          : Verb(app, "create", "Make a container without starting it; takes the flags of run.",
                 "davit create --name job -v data:/data docker.io/library/busybox sh -c 'date > /data/now'");
  auto options = std::make_shared<RunOptions>();
  AddRunFlags(command, *options, run);
  KeepWords(command, "IMAGE [COMMAND [ARGUMENT...]]");
  command.callback([&to, &command, options, run] {
    Ids words = Words(command);
    const std::string name = run ? "run" : "create";
    if (words.empty() || words.front().starts_with("-")) {
      to.usage_error = words.empty() ? name + " needs an image" : name + ": unknown option " + words.front();
      return;
    }
    options->image = words.front();
    options->command.assign(words.begin() + 1, words.end());
    // Both pull, which ends at once with a signal.
    to.is_run = true;
    to.action = [options, run](const Context& c) { return run ? Run(c, *options) : Create(c, *options); };
  });
}

void AddStart(CLI::App& app, Invocation& to) {
  CLI::App& command = Verb(app, "start", "Start containers, again or for the first time.", "davit start -a job");
  auto options = std::make_shared<StartOptions>();
  auto names = AddNames(command, "CONTAINER");
  command.add_flag("-a,--attach", options->attach, "show its output until it ends; its exit code becomes davit's");
  command.add_flag("-i,--interactive", options->interactive, "pass on standard input");
  command.callback([&to, names, options] {
    options->containers = *names;
    to.takes_signals = options->attach || options->interactive;
    to.action = [options](const Context& c) { return Start(c, *options); };
  });
}

void AddStopVerbs(CLI::App& app, Invocation& to) {
  using Action = Result<int> (*)(const Context&, const StopOptions&);
  struct Entry {
    const char* name;
    const char* help;
    const char* example;
    Action action;
    bool grace;
  };
  const Entry entries[] = {
      {"stop", "Stop containers: the stop signal, and SIGKILL after the grace.", "davit stop -t 30 web", Stop, true},
      {"restart", "Stop containers and start them again.", "davit restart web", Restart, true},
      {"kill", "Send a signal, SIGKILL unless told otherwise.", "davit kill -s HUP web", Kill, false}};
  for (const Entry& entry : entries) {
    CLI::App& command = Verb(app, entry.name, entry.help, entry.example);
    auto options = std::make_shared<StopOptions>();
    auto names = AddNames(command, "CONTAINER", false);
    if (entry.grace) {
      command.add_option("-t,--time", options->timeout_seconds, "seconds until SIGKILL; its own unless given")
          ->check(CLI::Range(int64_t{-1}, int64_t{86400}));
    }
    command.add_option("-s,--signal", options->signal, "SIGTERM, TERM or 15");
    if (entry.action != Restart) command.add_flag("-a,--all", options->all, "all standalone ones that run");
    command.callback([&to, names, options, entry] {
      options->containers = *names;
      if (names->empty() && !options->all) to.usage_error = std::string(entry.name) + " needs a container";
      to.action = [options, action = entry.action](const Context& c) { return action(c, *options); };
    });
  }
}

void AddLifeVerbs(CLI::App& app, Invocation& to) {
  using Action = Result<int> (*)(const Context&, const Names&);
  for (const auto& [name, help, action] :
       {std::tuple("pause", "Freeze all processes of containers.", static_cast<Action>(Pause)),
        std::tuple("unpause", "Let paused containers go on.", static_cast<Action>(Unpause))}) {
    CLI::App& command = Verb(app, name, help, (std::string("davit ") + name + " web").c_str());
    auto names = AddNames(command, "CONTAINER");
    command.callback(
        [&to, names, action = action] { to.action = [names, action](const Context& c) { return action(c, *names); }; });
  }
  {
    CLI::App& command = Verb(app, "wait", "Wait until containers have ended and print their exit codes.",
                             "davit wait --condition healthy web");
    auto names = AddNames(command, "CONTAINER");
    auto condition = std::make_shared<std::string>();
    command.add_option("--condition", *condition, "not-running, next-exit, exited, removed, running or healthy");
    command.callback([&to, names, condition] {
      to.action = [names, condition](const Context& c) { return WaitFor(c, *names, *condition); };
    });
  }
  {
    CLI::App& command = Verb(app, "rm", "Remove containers.", "davit rm -f web");
    auto options = std::make_shared<RemoveOptions>();
    auto names = AddNames(command, "CONTAINER", false);
    command.add_flag("-f,--force", options->force, "kill it first; no error when it is not there");
    command.add_flag("-v,--volumes", options->volumes, "its anonymous volumes, too");
    command.add_flag("-a,--all", options->all, "all standalone ones");
    command.callback([&to, names, options] {
      options->containers = *names;
      if (names->empty() && !options->all) to.usage_error = "rm needs a container";
      to.action = [options](const Context& c) { return Remove(c, *options); };
    });
  }
  {
    CLI::App& command = Verb(app, "rename", "Give a container another name.", "davit rename web web-old");
    auto name = std::make_shared<std::string>();
    auto wanted = std::make_shared<std::string>();
    command.add_option("CONTAINER", *name, "name, id or beginning of an id")->required();
    command.add_option("NAME", *wanted, "its new name")->required();
    command.callback([&to, name, wanted] { to.action = [=](const Context& c) { return Rename(c, *name, *wanted); }; });
  }
  {
    CLI::App& command =
        Verb(app, "update", "Change limits and restart policy of containers.", "davit update -m 512m --cpus 2 web");
    auto options = std::make_shared<RunOptions>();
    auto names = AddNames(command, "CONTAINER");
    AddLimitFlags(command, *options);
    command.add_option("--restart", options->restart, "no, on-failure[:TIMES], always or unless-stopped");
    command.callback(
        [&to, names, options] { to.action = [=](const Context& c) { return Update(c, *names, *options); }; });
  }
}

void AddLookVerbs(CLI::App& app, Invocation& to) {
  {
    CLI::App& command = Verb(app, "ps", "List containers: standalone ones and the kubelet's.",
                             "davit ps -a --filter status=exited --filter label=app=web");
    auto options = std::make_shared<PsOptions>();
    command.add_flag("-a,--all", options->all, "those that do not run, too");
    command.add_flag("-q,--quiet", options->quiet, "only ids");
    command.add_option("-n,--last", options->last, "only the newest so many, whatever their state");
    command.add_flag_callback(
        "-l,--latest", [options] { options->last = 1; }, "only the newest");
    AddList(command, "-f,--filter", options->filters,
            "id=, name=, label=, status=, ancestor=, pod=, network=, volume=, health=, exited=, before=, since=, "
            "until=, standalone=true|false");
    command.callback([&to, options] { to.action = [options](const Context& c) { return Ps(c, *options); }; });
  }
  {
    CLI::App& command = Verb(app, "inspect", "Show containers, images, volumes, networks and pods as JSON.",
                             "davit inspect --format '{{.State.Status}}' web");
    auto options = std::make_shared<InspectOptions>();
    auto names = AddNames(command, "NAME");
    command.add_option("--type", options->type, "container, image, volume, network or pod")
        ->check(CLI::IsMember({"container", "image", "volume", "network", "pod"}));
    command.add_option("-f,--format", options->format, "text with {{.Key.Key}} in it");
    command.callback([&to, names, options] {
      options->objects = *names;
      to.action = [options](const Context& c) { return Inspect(c, *options); };
    });
  }
  {
    CLI::App& command = Verb(app, "logs", "Print a container's log.", "davit logs -f --tail 20 --since 10m web");
    auto options = std::make_shared<ContainerLogsOptions>();
    auto tail = std::make_shared<std::string>("all");
    command.add_option("CONTAINER", options->container, "name, id or beginning of an id")->required();
    command.add_flag("-f,--follow", options->follow, "until the container ends");
    command.add_option("-n,--tail", *tail, "only the last lines, or all");
    command.add_option("--since", options->since, "2026-01-31T12:00:00Z, or 10m");
    command.add_option("--until", options->until, "likewise");
    command.add_flag("-t,--timestamps", options->timestamps, "the time in front of each line");
    command.callback([&to, options, tail] {
      if (*tail != "all") {
        char* end = nullptr;
        options->tail = std::strtoull(tail->c_str(), &end, 10);
        if (*end != '\0' || tail->empty() || tail->front() == '-') to.usage_error = "--tail takes a number or all";
      }
      to.action = [options](const Context& c) { return ContainerLogs(c, *options); };
    });
  }
  {
    CLI::App& command = Verb(app, "top", "Show the processes in a container.", "davit top web");
    auto name = std::make_shared<std::string>();
    command.add_option("CONTAINER", *name, "name, id or beginning of an id")->required();
    command.callback([&to, name] { to.action = [name](const Context& c) { return Top(c, *name); }; });
  }
  {
    CLI::App& command = Verb(app, "stats", "Show what containers use, until a signal.", "davit stats --no-stream");
    auto options = std::make_shared<StatsOptions>();
    auto names = AddNames(command, "CONTAINER", false);
    command.add_flag("--no-stream", options->once, "only once");
    command.callback([&to, names, options] {
      options->containers = *names;
      to.action = [options](const Context& c) { return ContainerStats(c, *options); };
    });
  }
  {
    CLI::App& command = Verb(app, "port", "Show the ports that a container publishes.", "davit port web 80");
    auto name = std::make_shared<std::string>();
    auto port = std::make_shared<std::string>();
    command.add_option("CONTAINER", *name, "name, id or beginning of an id")->required();
    command.add_option("PORT", *port, "only this one: 80 or 53/udp");
    command.callback([&to, name, port] { to.action = [=](const Context& c) { return Port(c, *name, *port); }; });
  }
}

void AddExecVerbs(CLI::App& app, Invocation& to) {
  {
    CLI::App& command = Verb(app, "exec", "Run a command in a container; its exit code becomes davit's.",
                             "davit exec -it -u root -e DEBUG=1 web sh");
    auto options = std::make_shared<ContainerExecOptions>();
    command.add_flag("-d,--detach", options->detach, "leave it running");
    command.add_flag("-i,--interactive", options->interactive, "pass on standard input");
    command.add_flag("-t,--tty", options->terminal, "give it a terminal");
    command.add_flag("--privileged", options->privileged, "with all that the node may do");
    command.add_option("-u,--user", options->user, "user[:group]");
    command.add_option("-w,--workdir", options->workdir, "working directory");
    AddList(command, "-e,--env", options->env, "variable KEY=VALUE, or KEY from this environment");
    AddList(command, "--env-file", options->env_files, "file with a variable on each line");
    KeepWords(command, "CONTAINER COMMAND [ARGUMENT...]");
    command.callback([&to, &command, options] {
      Ids words = Words(command);
      if (!words.empty() && words.front().starts_with("-")) {
        to.usage_error = "exec: unknown option " + words.front();
        return;
      }
      if (words.size() > 1 && words[1] == "--") words.erase(words.begin() + 1);
      if (words.size() < 2) {
        to.usage_error = "exec needs a container and a command";
        return;
      }
      options->container = words.front();
      options->command.assign(words.begin() + 1, words.end());
      to.action = [options](const Context& c) { return ContainerExec(c, *options); };
    });
  }
  {
    CLI::App& command =
        Verb(app, "attach", "Connect to a running container's streams (ctrl-p ctrl-q leaves).", "davit attach web");
    auto name = std::make_shared<std::string>();
    auto no_stdin = std::make_shared<bool>(false);
    command.add_option("CONTAINER", *name, "name, id or beginning of an id")->required();
    command.add_flag("--no-stdin", *no_stdin, "only look");
    command.callback(
        [&to, name, no_stdin] { to.action = [=](const Context& c) { return AttachTo(c, *name, *no_stdin); }; });
  }
}

void AddFileVerbs(CLI::App& app, Invocation& to) {
  {
    CLI::App& command = Verb(app, "cp", "Copy files to or from a container, running or not; - is a tar.",
                             "davit cp web:/etc/nginx.conf .\n  davit cp site/. web:/srv");
    auto options = std::make_shared<CopyOptions>();
    command.add_option("FROM", options->from, "CONTAINER:PATH, PATH or -")->required();
    command.add_option("TO", options->to, "PATH, CONTAINER:PATH or -")->required();
    command.add_flag("-a,--archive", options->archive, "owners as they are");
    command.callback([&to, options] { to.action = [options](const Context& c) { return Copy(c, *options); }; });
  }
  {
    CLI::App& command =
        Verb(app, "diff", "Show what a container has changed: A added, C changed, D deleted.", "davit diff web");
    auto name = std::make_shared<std::string>();
    command.add_option("CONTAINER", *name, "name, id or beginning of an id")->required();
    command.callback([&to, name] { to.action = [name](const Context& c) { return Diff(c, *name); }; });
  }
  {
    CLI::App& command = Verb(app, "export", "Write a container's files as one tar.", "davit export -o web.tar web");
    auto name = std::make_shared<std::string>();
    auto output = std::make_shared<std::string>("-");
    command.add_option("CONTAINER", *name, "name, id or beginning of an id")->required();
    command.add_option("-o,--output", *output, "file; - for standard output");
    command.callback([&to, name, output] { to.action = [=](const Context& c) { return Export(c, *name, *output); }; });
  }
  {
    CLI::App& command = Verb(app, "commit", "Make an image of a container and print its id.",
                             "davit commit -m 'with data' -c 'CMD [\"/app\"]' web example.org/web:2");
    auto options = std::make_shared<CommitOptions>();
    command.add_option("CONTAINER", options->container, "name, id or beginning of an id")->required();
    command.add_option("IMAGE", options->reference, "name of the image");
    AddList(command, "-c,--change", options->changes, "instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, …");
    command.add_option("-m,--message", options->message, "comment in the image's history");
    command.add_option("-a,--author", options->author, "author");
    command.add_flag("-p,--pause,!--no-pause", options->pause, "freeze it meanwhile (the default)");
    command.add_flag("-q,--quiet", options->quiet, "no progress");
    command.callback([&to, options] { to.action = [options](const Context& c) { return Commit(c, *options); }; });
  }
}

}  // namespace

void AddContainerVerbs(CLI::App& app, Invocation& to) {
  AddRunOrCreate(app, to, true);
  AddLookVerbs(app, to);
  AddExecVerbs(app, to);
  AddRunOrCreate(app, to, false);
  AddStart(app, to);
  AddStopVerbs(app, to);
  AddLifeVerbs(app, to);
  AddFileVerbs(app, to);
}

}  // namespace davit::cli
