// davit events: what happens to containers, pods, images, volumes and networks.
#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "base/strings.h"
#include "base/time.h"
#include "cli/everyday.h"
#include "cli/filters.h"
#include "cli/format.h"
#include "cli/run_values.h"
#include "cli/table.h"
#include "davit/control/v1/standalone.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

constexpr size_t kMostWaiting = 10'000;  // events that were not printed yet; then the stream waits

bool Holds(const control::Event& event, const std::string& key, const std::string& value) {
  auto attribute = [&](const std::string& name) {
    auto found = event.attributes().find(name);
    return found == event.attributes().end() ? std::string() : found->second;
  };
  if (key == "type") return event.type() == value;
  if (key == "event") return event.action() == value;
  if (key == "standalone") return event.standalone() == (value == "true");
  if (key == "label") return LabelHolds(event.attributes(), value);
  if (key == "image") return attribute("image") == value || (event.type() == "image" && attribute("name") == value);
  // container, pod, volume, network: the object of that kind by name or id.
  return event.type() == key && (attribute("name") == value || event.id().starts_with(value));
}

auto HoldsOf(const control::Event& event) {
  return [&event](const std::string& key, const std::string& value) { return Holds(event, key, value); };
}

std::string Line(const Output& out, const control::Event& event) {
  // Sorted: the map of the message has no order.
  std::map<std::string, std::string> attributes(event.attributes().begin(), event.attributes().end());
  std::string more;
  for (const auto& [key, value] : attributes) more += (more.empty() ? "" : ", ") + key + "=" + value;
  return Sanitise(fmt::format("{} {} {} {}{}", FormatRfc3339Nano(event.time()), event.type(), event.action(),
                              DisplayId(event.id(), out.full), more.empty() ? "" : " (" + more + ")"));
}

// From gRPC's threads to the one that prints.
struct Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<control::Event> events;
  std::optional<Status> end;
  bool over = false;  // nobody takes them any more
};

// Lets a callback go that waits for room, before its subscription is destroyed.
class Letting {
 public:
  explicit Letting(Queue& queue) : queue_(queue) {}
  ~Letting() {
    std::lock_guard lock(queue_.mutex);
    queue_.over = true;
    queue_.changed.notify_all();
  }

 private:
  Queue& queue_;
};

}  // namespace

Result<int> EngineEvents(const Context& context, const EventOptions& options) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(options.filters, {"type", "event", "container", "pod", "image",
                                                                   "volume", "network", "label", "standalone"}));
  control::EventsRequest request;
  if (!options.since.empty()) {
    ASSIGN_OR_RETURN(int64_t at, ParseMoment(options.since, "--since", WallNanos()));
    request.set_since(at);
  }
  if (!options.until.empty()) {
    ASSIGN_OR_RETURN(int64_t at, ParseMoment(options.until, "--until", WallNanos()));
    request.set_until(at);
  }
  request.set_no_follow(options.no_follow);
  if (options.no_follow && request.since() == 0) request.set_since(1);  // all that is remembered
  auto queue = std::make_shared<Queue>();
  auto subscription = context.client.Watch(
      request,
      [queue](const control::Event& event) {
        std::unique_lock lock(queue->mutex);
        queue->changed.wait(lock, [&] { return queue->events.size() < kMostWaiting || queue->over; });
        queue->events.push_back(event);
        queue->changed.notify_all();
      },
      [queue](const Status& status) {
        std::lock_guard lock(queue->mutex);
        queue->end = status;
        queue->changed.notify_all();
      });
  Letting letting(*queue);
  for (;;) {
    control::Event event;
    {
      std::unique_lock lock(queue->mutex);
      queue->changed.wait(lock, [&] { return !queue->events.empty() || queue->end; });
      if (queue->events.empty()) {
        const bool asked = !options.since.empty() || !options.until.empty() || !filters.empty() || options.no_follow;
        if (queue->end->code() == StatusCode::kUnimplemented && !asked) break;
        RETURN_IF_ERROR(*queue->end);
        return 0;
      }
      event = std::move(queue->events.front());
      queue->events.pop_front();
      queue->changed.notify_all();
    }
    if (!Matches(filters, HoldsOf(event))) continue;
    if (context.out.json) {
      RETURN_IF_ERROR(PrintJsonLine(event));
    } else {
      PrintLine(Line(context.out, event));
    }
  }
  return Events(context);  // another CRI runtime
}

}  // namespace davit::cli
