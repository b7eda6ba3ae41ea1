// What goes on for as long as a container does: attach, logs, wait, and the size of its terminal.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "api/api.h"
#include "api/bridge.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "api/log_hub.h"
#include "client/client.h"
#include "client/stream_url.h"

namespace davit::api {
namespace {

namespace json = boost::json;

bool FramedType(const Request& request, bool tty) {
  if (tty || !request.version.named()) return false;
  return request.libpod ? request.version.AtLeast(4, 7) : request.version.AtLeast(1, 42);
}

std::string_view StreamType(const Request& request, bool tty) {
  return FramedType(request, tty) ? "application/vnd.docker.multiplexed-stream" : "application/vnd.docker.raw-stream";
}

// ---- logs ----

Result<LogOptions> ReadLogOptions(const Request& request, bool tty) {
  LogOptions options;
  ASSIGN_OR_RETURN(options.out, request.QueryBool("stdout", false));
  ASSIGN_OR_RETURN(options.err, request.QueryBool("stderr", false));
  ASSIGN_OR_RETURN(options.timestamps, request.QueryBool("timestamps", false));
  ASSIGN_OR_RETURN(options.since, ParseTimestamp(request.Query("since"), "since"));
  ASSIGN_OR_RETURN(options.until, ParseTimestamp(request.Query("until"), "until"));
  if (!options.out && !options.err) {
    return InvalidArgument("bad parameter: you must choose at least one stream: either stdout or stderr must be set");
  }
  // Podman's clients take frames apart whatever the container has.
  options.raw = tty && !request.libpod;
  if (tty && options.err) options.out = true;
  return options;
}

Result<std::optional<uint64_t>> ReadTail(const Request& request) {
  std::string text = request.Query("tail");
  if (text.empty() || text == "all") return std::optional<uint64_t>();
  ASSIGN_OR_RETURN(int64_t lines, request.QueryInt("tail", -1));
  return lines < 0 ? std::optional<uint64_t>() : std::optional<uint64_t>(static_cast<uint64_t>(lines));
}

bool LogsEnd(const control::Container& container) {
  return container.state() == control::STATE_EXITED || container.state() == control::STATE_DEAD;
}

// What the log has already, as fast as the client takes it: a step on the pool whenever its buffer is empty, so that a
// client that does not read holds no thread.
struct LogPump : std::enable_shared_from_this<LogPump> {
  Api& api;
  ExchangePtr exchange;
  client::LogFile file;
  LogFrames frames;
  std::string follow;  // the container; empty: until the end that there is now

  LogPump(Api& owner, ExchangePtr to, client::LogFile from, const LogOptions& options)
      : api(owner), exchange(std::move(to)), file(std::move(from)), frames(options) {}

  void Step() {
    while (exchange->unsent() <= Exchange::kHigh) {
      Result<std::string> bytes = file.Read();
      if (bytes.ok() && bytes->empty() && file.Rotated()) continue;
      if (!bytes.ok() || bytes->empty()) return Finish();
      if (!exchange->Write(frames.Feed(*bytes))) return;
      if (frames.past_end()) return Finish();
    }
    exchange->OnDrained([self = shared_from_this()] { self->api.pool().Post([self] { self->Step(); }); });
  }

  void Finish() {
    if (!follow.empty() && !frames.past_end()) {
      api.logs().Follow(exchange, follow, std::move(file), std::move(frames));
      return;
    }
    exchange->Write(frames.Finish());
    exchange->End();
  }
};

Status Logs(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name")));
  bool tty = entry.container.config().tty();
  ASSIGN_OR_RETURN(LogOptions options, ReadLogOptions(request, tty));
  ASSIGN_OR_RETURN(std::optional<uint64_t> tail, ReadTail(request));
  ASSIGN_OR_RETURN(bool follow, request.QueryBool("follow", false));
  Reply head;
  head.content_type = FramedType(request, tty && !request.libpod)  ? "application/vnd.docker.multiplexed-stream"
                      : request.libpod || !request.version.named() ? "application/octet-stream"
                      : options.raw                                ? "application/vnd.docker.raw-stream"
                                                                   : "application/octet-stream";
  Result<client::LogFile> file = client::LogFile::Open(entry.container.log_path());
  if (!file.ok()) {
    if (!entry.container.log_path().empty() && entry.container.state() == control::STATE_RUNNING) {
      return file.status().Annotate("read the log of " + entry.name);
    }
    // It was never started, and has written nothing.
    exchange->Begin(head);
    exchange->End();
    return {};
  }
  if (tail) RETURN_IF_ERROR(file->SeekTail(*tail));
  exchange->Begin(head);
  auto pump = std::make_shared<LogPump>(api, exchange, std::move(*file), options);
  if (follow && !LogsEnd(entry.container)) pump->follow = entry.container.id();
  pump->Step();
  return {};
}

// ---- attach ----

struct AttachRequest {
  bool logs = false;
  bool stream = true;
  BridgeOptions bridge;
};

Result<AttachRequest> ReadAttach(const Request& request, const Entry& entry) {
  AttachRequest attach;
  ASSIGN_OR_RETURN(attach.logs, request.QueryBool("logs", false));
  ASSIGN_OR_RETURN(attach.stream, request.QueryBool("stream", request.libpod));
  bool named = request.HasQuery("stdin") || request.HasQuery("stdout") || request.HasQuery("stderr");
  ASSIGN_OR_RETURN(attach.bridge.in, request.QueryBool("stdin", !named));
  ASSIGN_OR_RETURN(attach.bridge.out, request.QueryBool("stdout", !named));
  ASSIGN_OR_RETURN(attach.bridge.err, request.QueryBool("stderr", !named));
  if (!attach.logs && !attach.stream) {
    return InvalidArgument("at least one of Logs or Stream must be set");
  }
  attach.bridge.tty = entry.container.config().tty();
  attach.bridge.in = attach.bridge.in && entry.container.config().stdin();
  std::string keys = request.Query("detachKeys");
  if (keys.empty()) keys = request.Query("detachkeys");
  if (!keys.empty()) {
    ASSIGN_OR_RETURN(attach.bridge.detach_keys, ParseDetachKeys(keys));
  }
  return attach;
}

// What was written before, for attach?logs=1.
void SendLogs(const ExchangePtr& exchange, const Entry& entry, const BridgeOptions& bridge) {
  Result<client::LogFile> file = client::LogFile::Open(entry.container.log_path());
  if (!file.ok()) return;
  LogOptions options;
  options.out = bridge.out;
  options.err = bridge.err;
  options.raw = bridge.tty;
  LogFrames frames(options);
  for (;;) {
    Result<std::string> bytes = file->Read();
    if (bytes.ok() && bytes->empty() && file->Rotated()) continue;
    if (!bytes.ok() || bytes->empty()) break;
    if (!exchange->WriteAndWait(frames.Feed(*bytes))) return;
  }
  exchange->Write(frames.Finish());
}

Status Attach(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name")));
  ASSIGN_OR_RETURN(AttachRequest attach, ReadAttach(request, entry));
  std::string type(StreamType(request, attach.bridge.tty));
  bool runs = entry.container.state() == control::STATE_RUNNING || entry.container.state() == control::STATE_PAUSED;
  if (!attach.stream || (attach.logs && !runs && entry.container.state() == control::STATE_EXITED)) {
    exchange->Hijack(type, nullptr, nullptr);
    SendLogs(exchange, entry, attach.bridge);
    exchange->End();
    return {};
  }
  // One that does not run yet is made up to its first process, so that nothing of what it writes is missed. When that
  // cannot be, the start that follows says why, and the attach ends without output.
  if (!runs && entry.container.standalone()) {
    control::PrepareContainerRequest prepare;
    prepare.set_container(entry.container.id());
    Result<control::PrepareContainerResponse> prepared = api.client().Call(prepare);
    if (!prepared.ok() && prepared.code() != StatusCode::kUnimplemented) {
      api.failed_starts().Note(entry.container.id(), prepared.status());
      exchange->Hijack(type, nullptr, nullptr);
      exchange->End();
      return {};
    }
  }
  Result<std::string> url = api.engine().AttachUrl(entry, attach.bridge.in, attach.bridge.out, attach.bridge.err);
  if (!url.ok()) return url.status();
  ASSIGN_OR_RETURN(client::Upgraded upgraded, client::OpenWebSocket(*url, "v5.channel.k8s.io, v4.channel.k8s.io"));
  auto bridge = std::make_shared<Bridge>(api.loop(), exchange, std::move(upgraded), attach.bridge);
  api.bridges().Add(entry.container.id(), bridge);
  bridge->Start(type);
  if (attach.logs) SendLogs(exchange, entry, attach.bridge);
  return {};
}

Result<Reply> Resize(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(int64_t rows, request.QueryInt("h", 0));
  ASSIGN_OR_RETURN(int64_t columns, request.QueryInt("w", 0));
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  if (rows > 0 && columns > 0 && rows < 10000 && columns < 10000) {
    api.bridges().Resize(entry.container.id(), static_cast<int>(rows), static_cast<int>(columns));
  }
  return EmptyReply(200);
}

// ---- wait ----

Result<control::WaitCondition> ConditionOf(const Request& request, const std::string& word) {
  if (!request.libpod) {
    if (word.empty() || word == "not-running") return control::WAIT_NOT_RUNNING;
    if (word == "next-exit") return control::WAIT_NEXT_EXIT;
    if (word == "removed") return control::WAIT_REMOVED;
    return InvalidArgument(fmt::format("invalid condition: \"{}\"", word.substr(0, 64)));
  }
  if (word.empty() || word == "exited" || word == "stopped") return control::WAIT_EXITED;
  if (word == "running") return control::WAIT_RUNNING;
  if (word == "removing" || word == "removed") return control::WAIT_REMOVED;
  if (word == "healthy") return control::WAIT_HEALTHY;
  if (word == "configured" || word == "created" || word == "initialized") return control::WAIT_NOT_RUNNING;
  return InvalidArgument(fmt::format("unknown container state: {}", word.substr(0, 64)));
}

// Any of them ends the wait. Docker's API has one.
Result<std::set<control::WaitCondition>> ConditionsOf(const Request& request) {
  std::vector<std::string> words = request.QueryAll("condition");
  if (words.empty()) words.emplace_back();
  if (!request.libpod) words.resize(1);
  std::set<control::WaitCondition> conditions;
  for (const std::string& word : words) {
    ASSIGN_OR_RETURN(control::WaitCondition condition, ConditionOf(request, word));
    conditions.insert(condition);
  }
  return conditions;
}

// One wait. Shared by the callbacks of davitd's stream and of the client's connection.
struct Waiting {
  ExchangePtr exchange;
  bool libpod = false;
  std::mutex mutex;
  bool begun = false;
  bool over = false;
  std::vector<std::unique_ptr<client::Subscription>> subscriptions;

  void Begin() {
    if (begun || libpod) return;
    begun = true;
    exchange->Begin(Reply());
  }
  void Finish(int code, const std::string& error) {
    if (libpod) {
      Reply reply;
      reply.content_type = "text/plain; charset=us-ascii";
      reply.body = fmt::format("{}\n", code);
      exchange->Send(reply);
      return;
    }
    Begin();
    json::value problem = nullptr;
    if (!error.empty()) problem = json::object{{"Message", error}};
    exchange->Write(JsonLine(json::object{{"StatusCode", code}, {"Error", problem}}));
    exchange->End();
  }
};

bool Holds(control::WaitCondition condition, const control::Container& container) {
  bool ended = container.state() == control::STATE_EXITED || container.state() == control::STATE_DEAD;
  switch (condition) {
    case control::WAIT_RUNNING:
      return container.state() == control::STATE_RUNNING;
    case control::WAIT_HEALTHY:
      return container.health().status() == "healthy";
    case control::WAIT_NOT_RUNNING:
      return ended || container.state() == control::STATE_CREATED;
    case control::WAIT_REMOVED:
      return false;  // its absence is
    default:
      return ended;
  }
}

// Where the runtime has no call for it.
Status WaitByLooking(Api& api, const ExchangePtr& exchange, const std::set<control::WaitCondition>& conditions) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Param("name"), false));
  auto waiting = std::make_shared<Waiting>();
  waiting->exchange = exchange;
  waiting->libpod = request.libpod;
  waiting->Begin();
  auto last = std::make_shared<int>(entry.container.exit_code());
  bool next = conditions.contains(control::WAIT_NEXT_EXIT);
  int64_t before = entry.container.finished_at();
  bool was_ended = entry.container.state() == control::STATE_EXITED;
  api.logs().WaitFor(
      exchange, entry.container.id(),
      [=](const control::Container* container) {
        *last = container->exit_code();
        if (next && was_ended && container->finished_at() == before) return false;
        return std::any_of(conditions.begin(), conditions.end(),
                           [container](control::WaitCondition condition) { return Holds(condition, *container); });
      },
      [=](const control::Container* container) {
        waiting->Finish(container == nullptr ? *last : container->exit_code(), "");
      });
  return {};
}

Status Wait(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(std::set<control::WaitCondition> conditions, ConditionsOf(request));
  std::string name = request.Param("name");
  if (!api.engine().HasStandalone()) return WaitByLooking(api, exchange, conditions);
  if (name.starts_with("/")) name.erase(0, 1);
  if (name.starts_with("k8s_")) {
    ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, name, false));
    name = entry.container.id();
  }
  auto waiting = std::make_shared<Waiting>();
  waiting->exchange = exchange;
  waiting->libpod = request.libpod;
  // Whoever takes them first answers; the caller lets go of them without the lock.
  auto release = [waiting](bool& first) {
    std::vector<std::unique_ptr<client::Subscription>> subscriptions;
    std::lock_guard lock(waiting->mutex);
    first = !waiting->over;
    waiting->over = true;
    subscriptions.swap(waiting->subscriptions);
    return subscriptions;
  };
  std::string asked = request.Param("name");
  bool libpod = request.libpod;
  for (control::WaitCondition condition : conditions) {
    control::WaitContainerRequest wait;
    wait.set_container(name);
    wait.set_condition(condition);
    auto subscription = api.client().Wait(
        wait,
        [waiting, release](const control::WaitContainerResponse& message) {
          {
            std::lock_guard lock(waiting->mutex);
            if (waiting->over) return;
            waiting->Begin();
          }
          if (!message.done()) return;
          bool first = false;
          auto ended = release(first);
          // An error of its start is the start's to tell; here it would be one of the wait.
          if (first) waiting->Finish(message.exit_code(), "");
        },
        [waiting, release, asked, libpod](const Status& status) {
          bool first = false;
          auto ended = release(first);
          if (!first) return;
          if (!waiting->begun) {
            waiting->exchange->Send(ErrorReply(status.code() == StatusCode::kNotFound ? NoSuchContainer(libpod, asked)
                                               : status.ok() ? Internal("the wait ended without an answer")
                                                             : status));
          } else {
            waiting->Finish(255, status.ok() ? "the wait ended without an answer" : status.message());
          }
        });
    std::lock_guard lock(waiting->mutex);
    if (waiting->over) break;
    waiting->subscriptions.push_back(std::move(subscription));
  }
  exchange->OnClosed([release] {
    bool first = false;
    auto ended = release(first);
  });
  return {};
}

}  // namespace

void AddStreamRoutes(Router& router) {
  router.Stream(Flavour::kBoth, "GET", "/containers/{name}/logs", Logs);
  router.Stream(Flavour::kBoth, "POST", "/containers/{name}/attach", Attach);
  router.Add(Flavour::kBoth, "POST", "/containers/{name}/resize", Resize);
  router.Stream(Flavour::kBoth, "POST", "/containers/{name}/wait", Wait);
}

}  // namespace davit::api
