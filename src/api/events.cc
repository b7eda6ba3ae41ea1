// What happens: Docker's events and Podman's, replayed and as they come.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "base/time.h"
#include "client/client.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const std::vector<std::string> kFilters = {"container", "event",   "image",   "label",  "type",
                                           "volume",    "network", "daemon",  "scope",  "node",
                                           "pod",       "plugin",  "service", "config", "secret"};

// Podman's word where it differs.
std::string_view LibpodAction(std::string_view type, std::string_view action) {
  if (action == "die") return "died";
  if (action == "destroy") return "remove";
  if (action == "delete" && type == "image") return "remove";
  if (action == "exec_start") return "exec";
  if (action == "exec_die") return "exec_died";
  return action;
}

struct EventView {
  std::string type;
  std::string action;
  std::string id;
  int64_t time = 0;
  std::map<std::string, std::string> attributes;
};

bool Passes(const EventView& event, const Filters& filters) {
  auto attribute = [&](const char* key) {
    auto it = event.attributes.find(key);
    return it == event.attributes.end() ? std::string() : it->second;
  };
  if (!filters.Equals("type", event.type)) return false;
  if (filters.Has("event")) {
    bool any = false;
    for (const std::string& wanted : filters.Values("event")) {
      any = any || wanted == event.action || wanted == LibpodAction(event.type, event.action) ||
            event.action.starts_with(wanted + ":");
    }
    if (!any) return false;
  }
  auto names = [&](const char* type) {
    if (!filters.Has(type)) return true;
    if (event.type != type) return false;
    for (const std::string& wanted : filters.Values(type)) {
      if (event.id.starts_with(wanted) || attribute("name") == wanted) return true;
    }
    return false;
  };
  if (!names("container") || !names("volume") || !names("network")) return false;
  if (filters.Has("pod")) {
    bool any = false;
    for (const std::string& wanted : filters.Values("pod")) {
      any = any || (event.type == "pod" && (event.id.starts_with(wanted) || attribute("name") == wanted)) ||
            attribute("podId") == wanted;
    }
    if (!any) return false;
  }
  if (filters.Has("image")) {
    bool any = false;
    for (const std::string& wanted : filters.Values("image")) {
      any = any || attribute("image") == wanted || attribute("image").ends_with("/" + wanted) ||
            attribute("name") == wanted;
    }
    if (!any) return false;
  }
  return filters.Labels(event.attributes);
}

std::string Record(const EventView& event, const Request& request) {
  std::string_view action = event.action;
  if (request.libpod) action = LibpodAction(event.type, action);
  auto image = event.attributes.find("image");
  json::object attributes = StringObject(event.attributes);
  if (auto code = event.attributes.find("exitCode"); code != event.attributes.end()) {
    attributes["containerExitCode"] = code->second;
  }
  json::object out = {{"Type", event.type},
                      {"Action", View(action)},
                      {"Actor", {{"ID", event.id}, {"Attributes", std::move(attributes)}}},
                      {"scope", "local"},
                      {"time", event.time / 1'000'000'000},
                      {"timeNano", event.time}};
  if (request.libpod || !request.version.AtLeast(1, 52)) {
    out["status"] = View(action);
    out["id"] = event.id;
    if (image != event.attributes.end()) out["from"] = image->second;
  }
  if (request.libpod && event.type == "container") {
    auto status = event.attributes.find("health_status");
    if (status != event.attributes.end()) out["HealthStatus"] = status->second;
  }
  return JsonLine(out);
}

// One client's stream. Shared by the runtime's callbacks, the loop's timer of `until` and the client's connection.
struct Stream {
  ExchangePtr exchange;
  Filters filters;
  int64_t until = 0;
  std::mutex mutex;
  bool over = false;
  std::unique_ptr<client::Subscription> subscription;

  void Emit(const EventView& event) {
    if (!Passes(event, filters)) return;
    // A client that does not read loses its stream, as everywhere: it would get a torn one otherwise.
    if (exchange->unsent() > (4u << 20)) return Stop(true);
    exchange->Write(Record(event, exchange->request()));
  }
  void Stop(bool end) {
    std::unique_ptr<client::Subscription> mine;
    {
      std::lock_guard lock(mutex);
      if (over) return;
      over = true;
      mine.swap(subscription);
    }
    if (end) exchange->End();
  }
  void Keep(std::unique_ptr<client::Subscription> made) {
    std::lock_guard lock(mutex);
    if (!over) subscription = std::move(made);
  }
};

EventView FromControl(const control::Event& event) {
  return {event.type(), event.action(), event.id(), event.time(),
          std::map<std::string, std::string>(event.attributes().begin(), event.attributes().end())};
}

// CRI's four kinds.
std::optional<EventView> FromCri(const cri::ContainerEventResponse& event) {
  const char* action = nullptr;
  switch (event.container_event_type()) {
    case cri::CONTAINER_CREATED_EVENT:
      action = "create";
      break;
    case cri::CONTAINER_STARTED_EVENT:
      action = "start";
      break;
    case cri::CONTAINER_STOPPED_EVENT:
      action = "die";
      break;
    case cri::CONTAINER_DELETED_EVENT:
      action = "destroy";
      break;
    default:
      return std::nullopt;
  }
  EventView out{"container", action, event.container_id(), event.created_at(), {}};
  const cri::PodSandboxMetadata& pod = event.pod_sandbox_status().metadata();
  if (event.container_id() == event.pod_sandbox_status().id()) {
    out.type = "pod";
    if (out.action == "die") out.action = "stop";
    out.attributes["name"] = pod.name();
    return out;
  }
  for (const cri::ContainerStatus& status : event.containers_statuses()) {
    if (status.id() != event.container_id()) continue;
    out.attributes.insert(status.labels().begin(), status.labels().end());
    out.attributes["name"] = fmt::format("k8s_{}_{}_{}_{}_{}", status.metadata().name(), pod.name(), pod.namespace_(),
                                         pod.uid(), status.metadata().attempt());
    out.attributes["image"] = status.image().image();
    if (out.action == "die") out.attributes["exitCode"] = std::to_string(status.exit_code());
  }
  out.attributes["podId"] = event.pod_sandbox_status().id();
  return out;
}

Status Events(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(bool follow, request.QueryBool("stream", true));
  ASSIGN_OR_RETURN(int64_t since, ParseTimestamp(request.Query("since"), "since"));
  ASSIGN_OR_RETURN(int64_t until, ParseTimestamp(request.Query("until"), "until"));
  auto stream = std::make_shared<Stream>();
  stream->exchange = exchange;
  ASSIGN_OR_RETURN(stream->filters, Filters::Of(request, kFilters));
  int64_t now = WallNanos();
  bool standalone = api.engine().HasStandalone();
  exchange->Begin(Reply());
  auto end = [stream](const Status& status) {
    if (!status.ok() && status.code() != StatusCode::kCancelled) {
      stream->exchange->Write(JsonLine(json::object{{"message", status.message()}, {"response", 500}}));
    }
    stream->Stop(true);
  };
  if (standalone) {
    control::EventsRequest call;
    call.set_since(since == 0 && !follow ? 1 : since);
    call.set_until(until);
    call.set_no_follow(!follow || (until != 0 && until <= now));
    stream->Keep(api.client().Watch(
        call, [stream](const control::Event& event) { stream->Emit(FromControl(event)); }, end));
  } else if (!follow || (until != 0 && until <= now)) {
    // CRI keeps nothing of what has been.
    stream->Stop(true);
    return {};
  } else {
    stream->Keep(api.client().WatchCri(
        [stream](const cri::ContainerEventResponse& event) {
          if (auto view = FromCri(event)) stream->Emit(*view);
        },
        end));
  }
  exchange->OnClosed([stream] { stream->Stop(false); });
  if (until > now) {
    std::weak_ptr<Stream> weak = stream;
    api.loop().After(std::chrono::nanoseconds(until - now), [weak] {
      if (auto alive = weak.lock()) alive->Stop(true);
    });
  }
  return {};
}

}  // namespace

void AddEventRoutes(Router& router) { router.Stream(Flavour::kBoth, "GET", "/events", Events); }

}  // namespace davit::api
