// Api: the server as its handlers see it.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/http_server.h"
#include "api/router.h"
#include "base/result.h"
#include "sched/event_loop.h"
#include "sched/thread_pool.h"

namespace davit::client {
class Client;
}

namespace davit::api {

class Engine;
class ExecSessions;
class LogHub;
class Bridges;

// What clients negotiate by.
inline constexpr char kApiVersion[] = "1.44";
inline constexpr char kMinApiVersion[] = "1.24";
inline constexpr char kLibpodVersion[] = "5.0.0";

struct ApiOptions {
  std::string endpoint = "unix:///run/davit/davit.sock";  // of davitd, or another CRI runtime
  std::string socket;                                     // ours, as clients are told: /run/davit/api.sock
  bool allow_kubernetes_changes = false;                  // changing verbs on what the kubelet made
  std::string spool = "/var/tmp";                         // archives on their way to davitd
  uint64_t max_spool = 16ull << 30;
  HttpServerOptions http;
};

// Why an attach could not make a container ready: for the start that follows, since one with --rm has gone by then.
class FailedStarts {
 public:
  void Note(const std::string& container, const Status& why);
  // Once, for a minute.
  std::optional<Status> Take(const std::string& container);

 private:
  std::mutex mutex_;
  std::map<std::string, std::pair<std::chrono::steady_clock::time_point, Status>> failed_;
};

class Api {
 public:
  static Result<std::unique_ptr<Api>> Start(const ApiOptions& options, std::vector<sys::UniqueFd> listeners);
  ~Api();

  [[nodiscard]] const ApiOptions& options() const { return options_; }
  Engine& engine() { return *engine_; }
  client::Client& client() { return *client_; }
  sched::EventLoop& loop() { return *loop_; }
  sched::ThreadPool& pool() { return *pool_; }
  sched::ThreadPool& slow_pool() { return *slow_pool_; }
  ExecSessions& execs() { return *execs_; }
  LogHub& logs() { return *logs_; }
  Bridges& bridges() { return *bridges_; }
  FailedStarts& failed_starts() { return failed_starts_; }
  [[nodiscard]] size_t connections() const { return server_ ? server_->connections() : 0; }

 private:
  explicit Api(ApiOptions options);
  Plan MakePlan(const std::shared_ptr<Connection>& connection, http::RequestHead head);
  void Run(const Route& route, const ExchangePtr& exchange);

  const ApiOptions options_;
  std::shared_ptr<const std::string> common_;
  Router router_;
  std::unique_ptr<client::Client> client_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<sched::EventLoop> loop_;
  std::unique_ptr<ExecSessions> execs_;
  std::unique_ptr<Bridges> bridges_;
  std::unique_ptr<LogHub> logs_;
  FailedStarts failed_starts_;
  std::unique_ptr<sched::ThreadPool> pool_;
  std::unique_ptr<sched::ThreadPool> slow_pool_;
  std::unique_ptr<HttpServer> server_;
};

// The routes, a file for each kind of thing.
void AddSystemRoutes(Router& router);
void AddContainerRoutes(Router& router);
void AddContainerVerbRoutes(Router& router);
void AddCreateRoutes(Router& router);
void AddStreamRoutes(Router& router);
void AddExecRoutes(Router& router);
void AddStatsRoutes(Router& router);
void AddEventRoutes(Router& router);
void AddImageRoutes(Router& router);
void AddImageTransferRoutes(Router& router);
void AddPodRoutes(Router& router);
void AddVolumeRoutes(Router& router);
void AddNetworkRoutes(Router& router);
void AddArchiveRoutes(Router& router);
void AddKubeRoutes(Router& router);
void AddBuildRoutes(Router& router);

}  // namespace davit::api
