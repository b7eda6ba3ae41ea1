#include "api/api.h"

#include <fmt/format.h>

#include "api/bridge.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/exec_sessions.h"
#include "api/log_hub.h"
#include "base/log.h"
#include "base/version.h"
#include "client/client.h"

namespace davit::api {
namespace {

constexpr size_t kThreads = 16;
constexpr size_t kMoreThreads = 112;  // when the first ones wait: stops with long grace periods
constexpr size_t kSlowThreads = 16;   // pulls, builds, archives

void RunReply(Api& api, const ReplyHandler& handler, const ExchangePtr& exchange) {
  Result<Reply> reply = handler(api, exchange->request());
  exchange->Send(reply.ok() ? *reply : ErrorReply(reply.status()));
}

}  // namespace

void FailedStarts::Note(const std::string& container, const Status& why) {
  std::lock_guard lock(mutex_);
  auto now = std::chrono::steady_clock::now();
  std::erase_if(failed_, [&](const auto& entry) { return now - entry.second.first > std::chrono::minutes(1); });
  failed_[container] = {now, why};
}

std::optional<Status> FailedStarts::Take(const std::string& container) {
  std::lock_guard lock(mutex_);
  auto it = failed_.find(container);
  if (it == failed_.end()) return std::nullopt;
  Status why = it->second.second;
  failed_.erase(it);
  return why;
}

Api::Api(ApiOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<Api>> Api::Start(const ApiOptions& options, std::vector<sys::UniqueFd> listeners) {
  std::unique_ptr<Api> api(new Api(options));
  api->common_ = std::make_shared<const std::string>(
      fmt::format("Api-Version: {}\r\nLibpod-Api-Version: {}\r\nServer: Davit/{} (linux)\r\n", kApiVersion,
                  kLibpodVersion, kVersion));
  for (auto add : {AddSystemRoutes, AddContainerRoutes, AddContainerVerbRoutes, AddCreateRoutes, AddStreamRoutes,
                   AddExecRoutes, AddStatsRoutes, AddEventRoutes, AddImageRoutes, AddImageTransferRoutes, AddPodRoutes,
                   AddVolumeRoutes, AddNetworkRoutes, AddArchiveRoutes, AddKubeRoutes, AddBuildRoutes}) {
    add(api->router_);
  }
  ASSIGN_OR_RETURN(api->client_, client::Client::Make(options.endpoint, client::kNoTimeout));
  api->engine_ = std::make_unique<Engine>(*api->client_);
  ASSIGN_OR_RETURN(api->loop_, sched::EventLoop::Start("davit-api-io"));
  api->execs_ = std::make_unique<ExecSessions>();
  api->bridges_ = std::make_unique<Bridges>(*api->loop_);
  api->logs_ = std::make_unique<LogHub>(*api->engine_);
  api->pool_ = std::make_unique<sched::ThreadPool>("davit-api", kThreads, std::chrono::seconds(10),
                                                   sched::Overflow{kMoreThreads});
  api->slow_pool_ = std::make_unique<sched::ThreadPool>("davit-api-slow", kSlowThreads);
  ASSIGN_OR_RETURN(api->server_, HttpServer::Start(*api->loop_, std::move(listeners), options.http,
                                                   [raw = api.get()](const std::shared_ptr<Connection>& connection,
                                                                     http::RequestHead head) {
                                                     return raw->MakePlan(connection, std::move(head));
                                                   }));
  return api;
}

Api::~Api() {
  server_.reset();  // its connections end, and with them what waits for clients
  slow_pool_.reset();
  pool_.reset();
  logs_.reset();
  bridges_.reset();
}

Plan Api::MakePlan(const std::shared_ptr<Connection>& connection, http::RequestHead head) {
  auto request = std::make_shared<Request>();
  request->head = std::move(head);
  ApiPath path = SplitApiPath(request->head.raw_path);
  request->libpod = path.libpod;
  request->version = path.version;
  request->is_head = request->head.method == "HEAD";
  Router::Found found = router_.Find(request->head.method, path);
  request->params = std::move(found.params);
  LogDebug("{} {}", request->head.method, request->head.raw_path);
  Plan plan;
  if (found.route == nullptr) {
    Reply reply;
    reply.status = found.other_method ? 405 : 404;
    reply.content_type = "text/plain; charset=utf-8";
    reply.body = found.other_method ? "Method Not Allowed\n" : "Not Found\n";
    plan.run = [this, connection, request, reply](std::string, const std::shared_ptr<BodyPipe>&) {
      Exchange(connection, std::move(*request), common_).Send(reply);
    };
    return plan;
  }
  plan.stream_body = found.route->stream_body;
  // A weak reference: the plan is the connection's own.
  plan.run = [this, weak = std::weak_ptr<Connection>(connection), request, route = found.route](
                 std::string body, std::shared_ptr<BodyPipe> stream) {
    auto alive = weak.lock();
    if (!alive) return;
    request->body = std::move(body);
    request->stream = std::move(stream);
    Run(*route, std::make_shared<Exchange>(alive, std::move(*request), common_));
  };
  return plan;
}

void Api::Run(const Route& route, const ExchangePtr& exchange) {
  sched::ThreadPool& pool = route.slow ? *slow_pool_ : *pool_;
  pool.Post([this, &route, exchange] {
    if (const auto* reply = std::get_if<ReplyHandler>(&route.handler)) {
      RunReply(*this, *reply, exchange);
      return;
    }
    Status status = std::get<StreamHandler>(route.handler)(*this, exchange);
    if (!status.ok()) exchange->Send(ErrorReply(status));
  });
}

}  // namespace davit::api
