// Further processes in containers: create, start, inspect, resize.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/bridge.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/exec_sessions.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "client/stream_url.h"

namespace davit::api {
namespace {

namespace json = boost::json;

constexpr int kNotFoundCode = 127;  // as shells say it
constexpr int kNotRunnableCode = 126;

Result<Reply> Create(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  JsonReader body = document.root();
  ExecSession session;
  session.container = entry.container.id();
  session.command = body["Cmd"].Strings();
  session.envs = body["Env"].Strings();
  session.user = body["User"].Str();
  session.working_dir = body["WorkingDir"].Str();
  session.detach_keys = body["DetachKeys"].Str();
  session.tty = body["Tty"].Bool();
  session.in = body["AttachStdin"].Bool();
  session.out = body["AttachStdout"].Bool();
  session.err = body["AttachStderr"].Bool();
  session.privileged = body["Privileged"].Bool();
  RETURN_IF_ERROR(document.status());
  RETURN_IF_ERROR(ParseDetachKeys(session.detach_keys).status());
  if (session.command.empty()) return InvalidArgument("No exec command specified: must provide a command");
  if (entry.container.state() == control::STATE_PAUSED) {
    return FailedPrecondition(fmt::format("Container {} is paused, unpause the container before exec", entry.name));
  }
  if (entry.container.state() != control::STATE_RUNNING) {
    return FailedPrecondition(
        fmt::format("container {} is not running: can only create exec sessions on running containers", entry.name));
  }
  ASSIGN_OR_RETURN(std::string id, api.execs().Add(std::move(session)));
  return JsonReply(json::object{{"Id", id}}, 201);
}

int CodeOf(const Result<int>& end) {
  if (end.ok()) return *end;
  if (end.code() == StatusCode::kCancelled) return 0;
  const std::string& text = end.status().message();
  bool missing = text.find("not found") != std::string::npos || text.find("no such file") != std::string::npos ||
                 text.find("No such file") != std::string::npos;
  return missing ? kNotFoundCode : kNotRunnableCode;
}

Result<client::Upgraded> Open(Api& api, const ExecSession& session) {
  control::ExecStandaloneRequest exec;
  exec.set_container(session.container);
  for (const std::string& word : session.command) exec.add_command(word);
  for (const std::string& env : session.envs) exec.add_envs(env);
  exec.set_user(session.user);
  exec.set_working_dir(session.working_dir);
  exec.set_privileged(session.privileged);
  exec.set_tty(session.tty);
  exec.set_stdin(session.in);
  exec.set_stdout(session.out || (!session.in && !session.err));
  exec.set_stderr(session.err && !session.tty);
  ASSIGN_OR_RETURN(std::string url, api.engine().ExecUrl(exec));
  return client::OpenWebSocket(url, "v5.channel.k8s.io, v4.channel.k8s.io");
}

Status StartExec(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  std::string id = request.Param("id");
  ASSIGN_OR_RETURN(ExecSession session, api.execs().Find(id));
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  bool detach = document.root()["Detach"].Bool();
  auto rows = static_cast<int>(document.root()["h"].Int());
  auto columns = static_cast<int>(document.root()["w"].Int());
  std::vector<JsonReader> console = document.root()["ConsoleSize"].Elements();
  if (console.size() == 2) {
    rows = static_cast<int>(console[0].Int());
    columns = static_cast<int>(console[1].Int());
  }
  RETURN_IF_ERROR(document.status());
  RETURN_IF_ERROR(api.execs().MarkStarted(id));
  Result<client::Upgraded> upgraded = Open(api, session);
  if (!upgraded.ok()) {
    api.execs().MarkEnded(id, kNotRunnableCode);
    return upgraded.status();
  }
  BridgeOptions options;
  options.tty = session.tty;
  options.in = session.in;
  options.out = true;
  options.err = true;
  if (!session.detach_keys.empty()) options.detach_keys = ParseDetachKeys(session.detach_keys).value_or("");
  options.on_end = [&api, id](const Result<int>& end) { api.execs().MarkEnded(id, CodeOf(end)); };
  if (detach) {
    auto bridge = std::make_shared<Bridge>(api.loop(), nullptr, std::move(*upgraded), std::move(options));
    bridge->StartDetached();
    exchange->Send(EmptyReply(200));
    return {};
  }
  bool framed_type = !session.tty && request.version.named() &&
                     (request.libpod ? request.version.AtLeast(4, 7) : request.version.AtLeast(1, 42));
  auto bridge = std::make_shared<Bridge>(api.loop(), exchange, std::move(*upgraded), std::move(options));
  api.bridges().Add(id, bridge);
  bridge->Start(framed_type ? "application/vnd.docker.multiplexed-stream" : "application/vnd.docker.raw-stream");
  if (session.tty && rows > 0 && columns > 0) bridge->Resize(rows, columns);
  return {};
}

Result<Reply> InspectExec(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(ExecSession session, api.execs().Find(request.Param("id")));
  std::vector<std::string> args = session.command;
  std::string entrypoint = args.front();
  args.erase(args.begin());
  json::value code = nullptr;
  if (session.exit_code) {
    code = *session.exit_code;
  } else if (request.libpod || !session.started) {
    code = 0;
  }
  return JsonReply(json::object{{"CanRemove", !session.running && session.started},
                                {"ContainerID", session.container},
                                {"DetachKeys", session.detach_keys},
                                {"ExitCode", code},
                                {"ID", session.id},
                                {"OpenStderr", session.err},
                                {"OpenStdin", session.in},
                                {"OpenStdout", session.out},
                                {"Running", session.running},
                                {"Pid", 0},
                                {"ProcessConfig",
                                 {{"arguments", StringArray(args)},
                                  {"entrypoint", entrypoint},
                                  {"privileged", session.privileged},
                                  {"tty", session.tty},
                                  {"user", session.user}}}});
}

Result<Reply> Resize(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(int64_t rows, request.QueryInt("h", 0));
  ASSIGN_OR_RETURN(int64_t columns, request.QueryInt("w", 0));
  RETURN_IF_ERROR(api.execs().Find(request.Param("id")).status());
  if (rows > 0 && columns > 0 && rows < 10000 && columns < 10000) {
    api.bridges().Resize(request.Param("id"), static_cast<int>(rows), static_cast<int>(columns));
  }
  return EmptyReply(201);
}

}  // namespace

void AddExecRoutes(Router& router) {
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/exec", Create);
  router.Stream(Flavour::kBoth, "POST", "/exec/{id}/start", StartExec);
  router.Add(Flavour::kBoth, "GET", "/exec/{id}/json", InspectExec);
  router.Add(Flavour::kBoth, "POST", "/exec/{id}/resize", Resize);
}

}  // namespace davit::api
