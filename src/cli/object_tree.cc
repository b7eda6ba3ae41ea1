// Volumes, networks, standalone pods and the engine in the command tree.
#include "cli/everyday.h"
#include "cli/everyday_tree.h"
#include "cli/run_tree.h"
#include "cli/tree_parts.h"

namespace davit::cli {
namespace {

void AddList(CLI::App& group, Invocation& to, const char* what, const char* keys,
             Result<int> (*list)(const Context&, const Names&, bool)) {
  CLI::App& command =
      Command(group, "ls", std::string("List ") + what + ".", std::string("davit ") + group.get_name() + " ls -q");
  command.alias("list");
  auto filters = std::make_shared<Ids>();
  auto quiet = std::make_shared<bool>(false);
  command.add_flag("-q,--quiet", *quiet, "only names");
  cli::AddList(command, "-f,--filter", *filters, keys);
  command.callback(
      [&to, filters, quiet, list] { to.action = [=](const Context& c) { return list(c, *filters, *quiet); }; });
}

void AddInspect(CLI::App& group, Invocation& to, const char* type) {
  CLI::App& command =
      Command(group, "inspect", "Show as JSON.", std::string("davit ") + group.get_name() + " inspect NAME");
  auto options = std::make_shared<InspectOptions>();
  auto names = AddNames(command, "NAME");
  command.add_option("--format", options->format, "text with {{.Key.Key}} in it");
  command.callback([&to, options, names, type] {
    options->objects = *names;
    options->type = type;
    to.action = [options](const Context& c) { return Inspect(c, *options); };
  });
}

void AddVolumeCommands(CLI::App& app, Invocation& to) {
  CLI::App& volume = Group(app, "volume", "work with volumes, which outlive containers");
  {
    CLI::App& command = Command(volume, "create", "Make a volume and print its name.",
                                "davit volume create data\n"
                                "  davit volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch");
    auto options = std::make_shared<VolumeOptions>();
    command.add_option("NAME", options->name, "one is made up unless given");
    command.add_option("-d,--driver", options->driver, "local");
    cli::AddList(command, "--label", options->labels, "label KEY=VALUE");
    // Not the -o of all other commands: here it is what it is in docker and podman.
    cli::AddList(command, "-o,--opt", options->options, "option of the driver: type=, device=, o=");
    command.callback([&to, options] { to.action = [options](const Context& c) { return VolumeCreate(c, *options); }; });
  }
  AddList(volume, to, "volumes", "name=, driver=, label=, dangling=true|false", VolumeList);
  AddInspect(volume, to, "volume");
  {
    CLI::App& command = Command(volume, "rm", "Remove volumes that no container uses.", "davit volume rm data");
    command.alias("remove");
    auto names = AddNames(command, "VOLUME");
    auto force = std::make_shared<bool>(false);
    command.add_flag("-f,--force", *force, "no error when it is not there");
    command.callback(
        [&to, names, force] { to.action = [=](const Context& c) { return VolumeRemove(c, *names, *force); }; });
  }
  {
    CLI::App& command =
        Command(volume, "prune", "Remove anonymous volumes that no container uses.", "davit volume prune -f");
    auto all = std::make_shared<bool>(false);
    auto force = std::make_shared<bool>(false);
    auto filters = std::make_shared<Ids>();
    command.add_flag("-a,--all", *all, "those with a name, too");
    command.add_flag("-f,--force", *force, "do not ask");
    cli::AddList(command, "--filter", *filters, "label=, name=");
    command.callback([&to, all, force, filters] {
      to.action = [=](const Context& c) -> Result<int> {
        if (!Confirmed(*force, "Remove volumes that no container uses?")) return 1;
        return VolumePrune(c, *all, *filters);
      };
    });
  }
}

void AddNetworkConnections(CLI::App& network, Invocation& to) {
  for (const bool connect : {true, false}) {
    CLI::App& command = connect ? Command(network, "connect", "Give a container a further network.",
                                          "davit network connect --alias db back web")
                                : Command(network, "disconnect", "Take a network away from a container.",
                                          "davit network disconnect back web");
    auto options = std::make_shared<ConnectOptions>();
    command.add_option("NETWORK", options->network, "name or id")->required();
    command.add_option("CONTAINER", options->container, "name, id or beginning of an id")->required();
    if (connect) {
      cli::AddList(command, "--alias", options->aliases, "further name of the container there");
      command.add_option("--ip", options->ipv4, "IPv4 address");
      command.add_option("--ip6", options->ipv6, "IPv6 address");
    } else {
      command.add_flag("-f,--force", options->force, "also when its plugin fails");
    }
    command.callback([&to, options, connect] {
      to.action = [options, connect](const Context& c) {
        return connect ? NetworkConnect(c, *options) : NetworkDisconnect(c, *options);
      };
    });
  }
}

void AddNetworkCommands(CLI::App& app, Invocation& to) {
  CLI::App& network = Group(app, "network", "work with networks of standalone containers");
  {
    CLI::App& command = Command(network, "create", "Make a network and print its id.",
                                "davit network create --subnet 10.90.0.0/24 back");
    auto options = std::make_shared<NetworkOptions>();
    command.add_option("NAME", options->name, "one is made up unless given");
    command.add_option("-d,--driver", options->driver, "bridge");
    cli::AddList(command, "--label", options->labels, "label KEY=VALUE");
    cli::AddList(command, "-o,--opt", options->options, "option of the driver: mtu=, isolate=, …");
    cli::AddList(command, "--subnet", options->subnets, "10.90.0.0/24; a free one unless given");
    cli::AddList(command, "--gateway", options->gateways, "the first address of the subnet unless given");
    cli::AddList(command, "--ip-range", options->ranges, "addresses to give out, FIRST-LAST");
    command.add_flag("--internal", options->internal, "no way out");
    command.add_flag("--ipv6", options->ipv6, "IPv6, too");
    command.add_flag("--disable-dns", options->no_dns, "containers do not find each other by name");
    command.callback(
        [&to, options] { to.action = [options](const Context& c) { return NetworkCreate(c, *options); }; });
  }
  AddList(network, to, "networks", "name=, id=, driver=, label=, dangling=true|false", NetworkList);
  AddInspect(network, to, "network");
  {
    CLI::App& command = Command(network, "rm", "Remove networks that no pod is on.", "davit network rm back");
    command.alias("remove");
    auto names = AddNames(command, "NETWORK");
    command.callback([&to, names] { to.action = [names](const Context& c) { return NetworkRemove(c, *names); }; });
  }
  AddNetworkConnections(network, to);
  {
    CLI::App& command = Command(network, "prune", "Remove networks that no pod is on.", "davit network prune -f");
    auto force = std::make_shared<bool>(false);
    command.add_flag("-f,--force", *force, "do not ask");
    command.callback([&to, force] {
      to.action = [force](const Context& c) -> Result<int> {
        if (!Confirmed(*force, "Remove networks that no pod is on?")) return 1;
        return NetworkPrune(c);
      };
    });
  }
}

void AddContainerGroup(CLI::App& app, Invocation& to) {
  CLI::App& container = Group(app, "container", "prune and inspect containers");
  {
    CLI::App& command = Command(container, "prune", "Remove standalone containers that do not run.",
                                "davit container prune -f --filter until=24h");
    auto force = std::make_shared<bool>(false);
    auto filters = std::make_shared<Ids>();
    command.add_flag("-f,--force", *force, "do not ask");
    cli::AddList(command, "--filter", *filters, "label=, until=");
    command.callback([&to, force, filters] {
      to.action = [=](const Context& c) -> Result<int> {
        if (!Confirmed(*force, "Remove all standalone containers that do not run?")) return 1;
        return ContainerPrune(c, *filters);
      };
    });
  }
  AddInspect(container, to, "container");
}

void AddEvents(CLI::App& app, Invocation& to) {
  CLI::App& command =
      Command(app, "events", "Show what happens to containers, pods, images, volumes and networks, until a signal.",
              "davit events --since 10m --filter type=container --filter event=die");
  auto options = std::make_shared<EventOptions>();
  auto of_cri = std::make_shared<bool>(false);
  command.add_option("--since", options->since, "from this moment on: 2026-01-31T12:00:00Z, or 10m");
  command.add_option("--until", options->until, "likewise");
  cli::AddList(command, "-f,--filter", options->filters,
               "type=, event=, container=, pod=, image=, volume=, network=, label=, standalone=true|false");
  command.add_flag("--no-follow,!--stream", options->no_follow, "only what is remembered");
  command.add_flag("--cri", *of_cri, "those of CRI, of the kubelet's pods alone");
  command.callback([&to, options, of_cri] {
    to.action = [=](const Context& c) { return *of_cri ? Events(c) : EngineEvents(c, *options); };
  });
}

void AddSystem(CLI::App& app, Invocation& to) {
  CLI::App& system = Group(app, "system", "the engine's room");
  AddDiskFree(system, to, "df");
  CLI::App& command = Command(system, "prune",
                              "Remove what nothing uses: containers that do not run, networks, images "
                              "without a name.",
                              "davit system prune -f --volumes");
  auto all = std::make_shared<bool>(false);
  auto force = std::make_shared<bool>(false);
  auto volumes = std::make_shared<bool>(false);
  command.add_flag("-a,--all", *all, "all images that no container uses");
  command.add_flag("-f,--force", *force, "do not ask");
  command.add_flag("--volumes", *volumes, "anonymous volumes, too");
  command.callback([&to, all, force, volumes] {
    to.action = [=](const Context& c) -> Result<int> {
      if (!Confirmed(*force, "Remove all that nothing uses?")) return 1;
      return SystemPrune(c, *all, *volumes);
    };
  });
}

}  // namespace

void AddDiskFree(CLI::App& parent, Invocation& to, const char* name) {
  CLI::App& df = Command(parent, name, "Show whose each byte of the store is, and what can be freed.", "davit df -v");
  auto details = std::make_shared<bool>(false);
  auto wait = std::make_shared<int64_t>(10);
  df.add_flag("-v,--verbose", *details, "every image, layer, container and directory");
  df.add_option("--wait", *wait, "seconds to wait for a measurement that goes on; then lower bounds are shown")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  df.callback(
      [&to, details, wait] { to.action = [details, wait](const Context& c) { return DiskFree(c, *details, *wait); }; });
}

void AddObjectVerbs(CLI::App& app, Invocation& to) {
  AddEvents(app, to);
  AddVolumeCommands(app, to);
  AddNetworkCommands(app, to);
  AddContainerGroup(app, to);
  AddSystem(app, to);
}

void AddStandalonePodVerbs(CLI::App& pod, Invocation& to) {
  {
    CLI::App& command = Command(pod, "create", "Make a standalone pod for several containers and print its id.",
                                "davit pod create --name team -p 8080:80");
    auto options = std::make_shared<RunOptions>();
    AddPodFlags(command, *options);
    auto name = std::make_shared<std::string>();
    command.add_option("NAME", *name, "its name, instead of --name");
    command.callback([&to, options, name] {
      if (!name->empty()) options->name = *name;
      to.action = [options](const Context& c) { return PodCreate(c, *options); };
    });
  }
  {
    CLI::App& command =
        Command(pod, "start", "Start standalone pods with all their containers.", "davit pod start team");
    auto names = AddNames(command, "POD");
    command.callback([&to, names] { to.action = [names](const Context& c) { return PodStart(c, *names); }; });
  }
  {
    CLI::App& command =
        Command(pod, "ps", "List pods: standalone ones and the kubelet's.", "davit pod ps --filter status=running");
    auto filters = std::make_shared<Ids>();
    auto quiet = std::make_shared<bool>(false);
    command.add_flag("-q,--quiet", *quiet, "only ids");
    cli::AddList(command, "-f,--filter", *filters, "name=, id=, status=, label=, standalone=true|false");
    command.callback(
        [&to, filters, quiet] { to.action = [=](const Context& c) { return PodPs(c, *filters, *quiet); }; });
  }
  AddInspect(pod, to, "pod");
}

}  // namespace davit::cli
