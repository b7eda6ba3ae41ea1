#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>

#include "base/strings.h"
#include "base/version.h"
#include "cli/command_tree.h"

namespace davit::cli {
namespace {

constexpr int kUsageExit = 2;
constexpr int kRunErrorExit = 125;

// DAVIT_HOST, then the variable that crictl and the kubelet's tools share.
std::string EndpointFromEnvironment() {
  for (const char* name : {"DAVIT_HOST", "CONTAINER_RUNTIME_ENDPOINT"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return client::kDefaultEndpoint;
}

Result<int> Execute(const Globals& globals, const Invocation& invocation) {
  // A reader that goes away (davit ctr logs | head) ends davit as it ends any filter; but a run has a pod to
  // take down, so there it is an error of write(2).
  const bool takes_signals = invocation.is_run || invocation.takes_signals;
  if (takes_signals) std::signal(SIGPIPE, SIG_IGN);
  // Before the client exists: its threads inherit the mask.
  ASSIGN_OR_RETURN(Signals signals,
                   takes_signals ? Signals::Block({SIGWINCH, SIGINT, SIGTERM}) : Signals::Block({SIGWINCH}));
  ASSIGN_OR_RETURN(
      std::unique_ptr<Client> client,
      Client::Make(globals.endpoint, client::Millis(static_cast<int64_t>(globals.timeout_seconds * 1000))));
  Output out = MakeOutput(globals.output == "json", globals.no_trunc);
  Context context{*client, out, signals};
  return invocation.action(context);
}

}  // namespace

int Main(int argc, char** argv) {
  CLI::App app{
      "davit: pods, containers and images of a Kubernetes node.\n\n"
      "Examples:\n"
      "  davit run --rm docker.io/library/busybox echo hello\n"
      "  davit run -d --name web -p 8080:80 docker.io/library/nginx\n"
      "  davit exec -it web sh\n"
      "  davit ps -a\n"
      "  davit pod list\n"
      "  davit --connect unix:///run/containerd/containerd.sock image list\n",
      "davit"};
  Globals globals;
  globals.endpoint = EndpointFromEnvironment();
  app.set_version_flag("--version", std::string("davit ") + kVersion);
  app.add_option("--connect", globals.endpoint, "socket of the runtime (DAVIT_HOST, CONTAINER_RUNTIME_ENDPOINT)")
      ->capture_default_str();
  app.add_option("--timeout", globals.timeout_seconds, "seconds to wait for one call; 0: the command's own limit")
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("-o,--output", globals.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.add_flag("--no-trunc", globals.no_trunc, "ids in full and times as times, on a terminal too");
  app.require_subcommand(1);
  Invocation invocation;
  AddCommands(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);
    return code == 0 ? 0 : kUsageExit;
  }
  if (!invocation.usage_error.empty()) {
    std::fputs(fmt::format("davit: {}\nRun with --help for more information.\n", invocation.usage_error).c_str(),
               stderr);
    return kUsageExit;
  }
  Result<int> code = Execute(globals, invocation);
  if (code.ok()) return *code;
  PrintError(code.status());
  if (Result<std::string> path = client::SocketPath(globals.endpoint); path.ok()) PrintHint(code.status(), *path);
  return invocation.is_run ? kRunErrorExit : 1;
}

}  // namespace davit::cli
