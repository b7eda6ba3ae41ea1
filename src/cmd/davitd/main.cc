// davitd: flags, wiring, signals.
//
// The main thread only waits for signals: orphaned monitors and inits are its to reap, and it must not
// spawn anything itself once it does (sys/process.h, ReapOrphans).

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <thread>

#include "base/log.h"
#include "base/strings.h"
#include "base/version.h"
#include "cmd/davitd/api_listener.h"
#include "cmd/davitd/logging.h"
#include "cmd/davitd/notify.h"
#include "config/config.h"
#include "cri/crio_inspection.h"
#include "cri/server.h"
#include "engine/engine.h"
#include "http/text_server.h"
#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace {

using davit::Result;
using davit::Status;

struct Flags {
  std::string config_file = "/etc/davit/davit.toml";
  std::string root;
  std::string state;
  std::string listen;
  std::string log_level;
  bool config_given = false;  // by --config: it has to be there
  bool print_config = false;
};

std::string OwnDirectory() {
  char path[PATH_MAX] = {};
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return {};
  std::string self(path, static_cast<size_t>(n));
  return self.substr(0, self.rfind('/'));
}

// The configured path, else beside davitd (a build tree), else where packages put it.
Result<std::string> FindProgram(const std::string& configured, const std::string& name) {
  std::vector<std::string> candidates = {configured};
  if (configured.empty()) {
    candidates = {OwnDirectory() + "/" + name, "/usr/libexec/davit/" + name, "/usr/local/libexec/davit/" + name};
  }
  for (const std::string& candidate : candidates) {
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return davit::NotFound("helper " + name + " is not at " + davit::Join(candidates, ", ") +
                         " (install the davit package whole, or set its path in the configuration)");
}

Result<davit::engine::Programs> FindPrograms(const davit::config::Config& config) {
  davit::engine::Programs programs;
  ASSIGN_OR_RETURN(programs.monitor, FindProgram(config.runtime.monitor_path, "davit-monitor"));
  ASSIGN_OR_RETURN(programs.init, FindProgram(config.runtime.init_path, "davit-init"));
  ASSIGN_OR_RETURN(programs.pull, FindProgram(config.image.pull_path, "davit-pull"));
  return programs;
}

Result<davit::config::Config> LoadConfig(const Flags& flags) {
  ASSIGN_OR_RETURN(davit::config::Config config,
                   davit::config::Load(
                       flags.config_file, davit::config::DropinDirectory(flags.config_file),
                       flags.config_given ? davit::config::MainFile::kRequired : davit::config::MainFile::kOptional));
  // Flags are one more file, read last: the same checks, the same words.
  std::string overrides;
  auto quote = [](const std::string& text) {
    std::string quoted = "'";
    for (char c : text) {
      if (c != '\'') quoted += c;
    }
    return quoted + "'";
  };
  if (!flags.root.empty()) overrides += "root = " + quote(flags.root) + "\n";
  if (!flags.state.empty()) overrides += "state = " + quote(flags.state) + "\n";
  if (!flags.log_level.empty()) overrides += "log_level = " + quote(flags.log_level) + "\n";
  if (!flags.listen.empty()) overrides += "[api]\nlisten = " + quote(flags.listen) + "\n";
  if (!overrides.empty()) {
    std::string default_state = config.state;
    RETURN_IF_ERROR(davit::config::Apply(config, overrides, "command line"));
    // Roots that Load derived from the state directory follow it to its new place.
    for (auto& [name, handler] : config.runtime.handlers) {
      if (handler.root == default_state + "/runtime/" + name) handler.root.clear();
    }
    RETURN_IF_ERROR(davit::config::Resolve(config));
  }
  return config;
}

std::string ParentDirectory(const std::string& path) { return path.substr(0, path.rfind('/')); }

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGCHLD, SIGHUP}) sigaddset(&set, signal);
  return set;
}

// nullptr without an address.
Result<std::unique_ptr<davit::http::TextServer>> ServeMetrics(const davit::config::Config& config,
                                                              davit::engine::Engine& engine,
                                                              davit::cri::Server& server) {
  if (config.metrics.address.empty()) return std::unique_ptr<davit::http::TextServer>();
  davit::http::TextServerOptions options;
  options.address = config.metrics.address;
  auto answer = [&engine, &server](std::string_view path) -> std::optional<davit::http::TextAnswer> {
    if (path == "/healthz") return davit::http::TextAnswer{"text/plain; charset=utf-8", "ok\n"};
    if (path != "/metrics") return std::nullopt;
    davit::MetricsText text;
    engine.WriteMetrics(text);
    server.WriteMetrics(text);
    return davit::http::TextAnswer{"text/plain; version=0.0.4; charset=utf-8", text.text()};
  };
  ASSIGN_OR_RETURN_WITH(std::unique_ptr<davit::http::TextServer> started,
                        davit::http::TextServer::Start(options, answer), "metrics.address");
  davit::LogInfo("davitd answers /metrics and /healthz on {}", started->address());
  return started;
}

// nullptr without a socket for it.
Result<std::unique_ptr<davit::http::TextServer>> ServeCrioInspection(const davit::config::Config& config,
                                                                     davit::engine::Engine& engine) {
  const std::string& socket = config.api.crio_socket;
  if (socket.empty()) return std::unique_ptr<davit::http::TextServer>();
  RETURN_IF_ERROR(davit::sys::MakeDirectories(ParentDirectory(socket), 0755));
  davit::http::TextServerOptions options;
  options.address = "unix://" + socket;
  options.mode = 0600;
  options.not_found = "there are /info and /containers/ID, of pods and containers that are there";
  auto answer = [&engine](std::string_view path) -> std::optional<davit::http::TextAnswer> {
    const davit::engine::SnapshotPtr view = engine.View();
    std::optional<std::string> body =
        davit::cri::CrioInspection(path, *view, engine.Configuration().root, engine.SystemdCgroups());
    if (!body) return std::nullopt;
    return davit::http::TextAnswer{"application/json", std::move(*body)};
  };
  ASSIGN_OR_RETURN_WITH(std::unique_ptr<davit::http::TextServer> started,
                        davit::http::TextServer::Start(options, answer), "api.crio_socket");
  davit::LogInfo("davitd answers CRI-O's /info and /containers on {}, for cAdvisor", socket);
  return started;
}

Status Serve(const Flags& flags) {
  ASSIGN_OR_RETURN(davit::config::Config config, LoadConfig(flags));
  davit::cmd::StartLogging(config.log_level);
  ASSIGN_OR_RETURN(davit::engine::Programs programs, FindPrograms(config));
  RETURN_IF_ERROR(davit::cmd::ApiListener::CheckFree(config.api.listen));
  ASSIGN_OR_RETURN_WITH(std::unique_ptr<davit::engine::Engine> engine, davit::engine::Engine::Start(config, programs),
                        "start");
  ASSIGN_OR_RETURN(std::unique_ptr<davit::cri::Server> server, davit::cri::Server::Start(*engine));
  RETURN_IF_ERROR(davit::sys::MakeDirectories(ParentDirectory(config.api.listen), 0700));
  ASSIGN_OR_RETURN(std::unique_ptr<davit::cmd::ApiListener> listener,
                   davit::cmd::ApiListener::Start(
                       config.api.listen, [raw = server.get()](davit::sys::UniqueFd fd) { raw->Adopt(fd.release()); }));
  ASSIGN_OR_RETURN(std::unique_ptr<davit::http::TextServer> metrics, ServeMetrics(config, *engine, *server));
  ASSIGN_OR_RETURN(std::unique_ptr<davit::http::TextServer> inspection, ServeCrioInspection(config, *engine));
  davit::LogInfo("davitd {} serves CRI v1 on {}", davit::kVersion, config.api.listen);
  davit::cmd::NotifyReady();

  sigset_t handled = HandledSignals();
  for (;;) {
    int signal = 0;
    if (::sigwait(&handled, &signal) != 0) continue;
    if (signal == SIGCHLD) davit::sys::ReapOrphans();
    if (signal == SIGTERM || signal == SIGINT) break;
  }
  davit::LogInfo("ending; containers go on running");
  // A verb that hangs must not keep davitd from ending: its record of intent lets the next start finish
  // it, exactly as after SIGKILL.
  std::thread([] {
    std::this_thread::sleep_for(std::chrono::seconds(10));
    ::_exit(0);
  }).detach();
  inspection.reset();  // asks the engine
  metrics.reset();     // asks the engine and the server
  listener.reset();    // before what it hands connections to
  server->Shutdown(std::chrono::milliseconds(500));
  engine.reset();
  server.reset();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app{
      "davitd: a container engine for Kubernetes nodes (CRI v1).\n\n"
      "Examples:\n"
      "  davitd                                   serve on /run/davit/davit.sock\n"
      "  davitd --config ./davit.toml --log-level debug\n"
      "  davitd --print-config                    the effective configuration\n"};
  CLI::Option* config = app.add_option("--config", flags.config_file, "configuration file; drop-ins are FILE.d/*.toml")
                            ->capture_default_str();
  app.add_option("--root", flags.root, "persistent data (overrides the file)");
  app.add_option("--state", flags.state, "state of this boot (overrides the file)");
  app.add_option("--listen", flags.listen, "unix socket of the API (overrides the file)");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error (overrides the file)");
  bool debug = false;
  app.add_flag("--debug", debug, "the same as --log-level debug");
  app.add_flag("--print-config", flags.print_config, "print the effective configuration and exit");
  app.set_version_flag("--version", std::string("davitd ") + davit::kVersion);
  CLI11_PARSE(app, argc, argv);
  if (debug) flags.log_level = "debug";
  flags.config_given = config->count() > 0;

  if (flags.print_config) {
    Result<davit::config::Config> loaded = LoadConfig(flags);
    if (!loaded.ok()) {
      std::fprintf(stderr, "davitd: %s\n", loaded.status().message().c_str());
      return 1;
    }
    std::fputs(davit::config::Dump(*loaded).c_str(), stdout);
    return 0;
  }
  // Before any thread starts: threads inherit the mask, so these come to sigwait alone.
  sigset_t handled = HandledSignals();
  ::pthread_sigmask(SIG_BLOCK, &handled, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(022);
  Status status = Serve(flags);
  if (!status.ok()) {
    std::fprintf(stderr, "davitd: %s\n", status.message().c_str());
    return 1;
  }
  return 0;
}
