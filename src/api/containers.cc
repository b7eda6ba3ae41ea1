// Containers: lists, inspection, existence.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "base/strings.h"
#include "base/time.h"
#include "client/client.h"
#include "oci/json.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const std::vector<std::string> kFilters = {
    "id",     "name",  "label", "label!", "status",  "ancestor", "network", "volume",         "exited", "health",
    "before", "since", "pod",   "until",  "is-task", "publish",  "expose",  "restart-policy", "command"};

// docker's and podman's words for the same states.
std::string FilterState(std::string_view word) {
  if (word == "configured" || word == "initialized") return "created";
  if (word == "stopped") return "exited";
  if (word == "stopping") return "running";
  return std::string(word);
}

bool SameImage(const control::Container& container, std::string_view wanted) {
  if (container.image() == wanted || container.image_id() == wanted) return true;
  if (wanted.size() >= 4 && BareDigest(container.image_id()).starts_with(BareDigest(wanted))) return true;
  // "busybox" stands for "docker.io/library/busybox:latest" and for "localhost/busybox:latest".
  std::string full = container.image();
  std::string tagged = std::string(wanted);
  if (tagged.find(':', tagged.rfind('/') == std::string::npos ? 0 : tagged.rfind('/')) == std::string::npos) {
    tagged += ":latest";
  }
  return full == tagged || full.ends_with("/" + tagged);
}

bool UsesVolume(const control::Container& container, const std::string& wanted) {
  for (const control::NamedVolume& volume : container.volumes()) {
    if (volume.name() == wanted || volume.container_path() == wanted) return true;
  }
  for (const cri::Mount& mount : container.config().mounts()) {
    if (mount.host_path() == wanted || mount.container_path() == wanted) return true;
  }
  return false;
}

template <class Predicate>
bool AnyOf(const Filters& filters, std::string_view key, const Predicate& predicate) {
  if (!filters.Has(key)) return true;
  const auto& values = filters.Values(key);
  return std::any_of(values.begin(), values.end(), predicate);
}

bool Passes(const Entry& entry, const Filters& filters) {
  const control::Container& container = entry.container;
  if (!filters.Begins("id", container.id())) return false;
  // Docker matches names with their slash ("^/c1$"), Podman without.
  if (!filters.Matches("name", entry.name) && !filters.Matches("name", "/" + entry.name)) return false;
  if (!filters.Labels(container.config().labels())) return false;
  if (!AnyOf(filters, "status",
             [&](const std::string& word) { return FilterState(word) == StateName(container.state()); })) {
    return false;
  }
  if (!AnyOf(filters, "ancestor", [&](const std::string& image) { return SameImage(container, image); })) return false;
  if (!AnyOf(filters, "volume", [&](const std::string& name) { return UsesVolume(container, name); })) return false;
  if (!AnyOf(filters, "network", [&](const std::string& name) {
        // Also of those that are down; by the ids of networks, too.
        for (const auto& [network, id] : entry.pod.network_ids()) {
          if (network == name || id == name || (network == "bridge" && (name == "podman" || name == "default")))
            return true;
        }
        return false;
      })) {
    return false;
  }
  if (!AnyOf(filters, "exited", [&](const std::string& code) {
        return container.state() == control::STATE_EXITED && code == std::to_string(container.exit_code());
      })) {
    return false;
  }
  if (!AnyOf(filters, "health", [&](const std::string& word) {
        return word == (container.health().status().empty() ? "none" : container.health().status());
      })) {
    return false;
  }
  return AnyOf(filters, "pod", [&](const std::string& pod) {
    return !entry.pod.implicit() && (entry.pod.name() == pod || entry.pod.id().starts_with(pod));
  });
}

Status CheckTimes(Api& api, const Request& request, const Filters& filters, std::vector<Entry>& entries) {
  for (const char* key : {"before", "since"}) {
    std::vector<std::string> names = filters.Values(key);
    if (std::string query = request.Query(key); !query.empty()) names.push_back(query);
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(Entry other, api.engine().Find(request.libpod, name, false));
      int64_t at = other.container.created_at();
      bool before = std::string_view(key) == "before";
      std::erase_if(entries, [&](const Entry& entry) {
        return before ? entry.container.created_at() >= at : entry.container.created_at() <= at;
      });
    }
  }
  for (const std::string& text : filters.Values("until")) {
    ASSIGN_OR_RETURN(int64_t until, ParseTimestamp(text, "until"));
    std::erase_if(entries, [&](const Entry& entry) { return entry.container.created_at() >= until; });
  }
  return {};
}

std::map<std::string, uint64_t> WritableSizes(Api& api, const std::vector<Entry>& entries) {
  std::map<std::string, uint64_t> out;
  for (const Entry& entry : entries) {
    // By its id: CRI's lists leave standalone ones out.
    cri::ContainerStatsRequest request;
    request.set_container_id(entry.container.id());
    Result<cri::ContainerStatsResponse> stats = api.client().Call(request);
    if (stats.ok()) out[entry.container.id()] = stats->stats().writable_layer().used_bytes().value();
  }
  return out;
}

// Of the images, by id: what a container's files are beside those that it wrote.
std::map<std::string, uint64_t> ImageSizes(Api& api) {
  std::map<std::string, uint64_t> out;
  Result<std::vector<control::StoredImage>> images = api.engine().Images();
  if (!images.ok()) return out;
  for (const control::StoredImage& image : *images) out[image.id()] = image.size();
  return out;
}

Result<Reply> List(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool all, request.QueryBool("all", false));
  ASSIGN_OR_RETURN(bool size, request.QueryBool("size", false));
  ASSIGN_OR_RETURN(int64_t limit, request.QueryInt("limit", 0));
  ASSIGN_OR_RETURN(int64_t last, request.QueryInt("last", 0));
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  limit = std::max(limit, last);
  all = all || limit > 0 || filters.Has("status") || filters.Has("exited");
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  std::erase_if(entries, [&](const Entry& entry) {
    bool runs = entry.container.state() == control::STATE_RUNNING || entry.container.state() == control::STATE_PAUSED ||
                entry.container.state() == control::STATE_RESTARTING;
    return (!all && !runs) || !Passes(entry, filters);
  });
  RETURN_IF_ERROR(CheckTimes(api, request, filters, entries));
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.container.created_at() > b.container.created_at(); });
  if (limit > 0 && entries.size() > static_cast<size_t>(limit)) entries.resize(static_cast<size_t>(limit));
  std::map<std::string, uint64_t> sizes;
  std::map<std::string, uint64_t> image_sizes;
  if (size) {
    sizes = WritableSizes(api, entries);
    image_sizes = ImageSizes(api);
  }
  json::array out;
  for (const Entry& entry : entries) {
    json::object shown = request.libpod ? LibpodSummary(entry) : ContainerSummary(entry);
    if (!request.libpod && shown["Command"].get_string().empty()) {
      shown["Command"] = api.engine().ImageCommand(entry.container.image_id());
    }
    uint64_t written = sizes[entry.container.id()];
    uint64_t whole = written + image_sizes[entry.container.image_id()];
    if (size && request.libpod) {
      shown["Size"] = {{"rootFsSize", whole}, {"rwSize", written}};
    } else if (size) {
      shown["SizeRw"] = written;
      shown["SizeRootFs"] = whole;
    }
    out.push_back(std::move(shown));
  }
  // Podman's clients count on an infra container of each pod; it is not there, and has no state of its own.
  if (request.libpod && (filters.empty() || filters.Has("pod"))) {
    ASSIGN_OR_RETURN(std::vector<control::Pod> pods, api.engine().Pods());
    for (const control::Pod& pod : pods) {
      if (!all && !pod.ready()) continue;
      if (!AnyOf(filters, "pod",
                 [&](const std::string& name) { return pod.name() == name || pod.id().starts_with(name); })) {
        continue;
      }
      out.push_back(LibpodInfraSummary(pod));
    }
  }
  return JsonReply(out);
}

// The infra container of a pod by its id or name; not found for everything else.
Result<control::Pod> PodOfInfra(Api& api, const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<control::Pod> pods, api.engine().Pods());
  for (const control::Pod& pod : pods) {
    std::string id = InfraId(pod.id());
    if (name == id || (name.size() >= 12 && id.starts_with(name)) || name == pod.id().substr(0, 12) + "-infra")
      return pod;
  }
  return NoSuchContainer(true, name);
}

Result<Reply> Inspect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool size, request.QueryBool("size", false));
  const std::string& name = request.Param("name");
  Result<Entry> entry = api.engine().Find(request.libpod, name);
  if (entry.code() == StatusCode::kNotFound && request.libpod) {
    if (Result<control::Pod> pod = PodOfInfra(api, name); pod.ok()) {
      Entry infra;
      infra.container.set_id(InfraId(pod->id()));
      infra.container.set_pod_id(pod->id());
      infra.container.set_image("pause");
      infra.container.set_state(pod->ready()          ? control::STATE_RUNNING
                                : pod->started_once() ? control::STATE_EXITED
                                                      : control::STATE_CREATED);
      infra.container.set_created_at(pod->created_at());
      infra.name = pod->id().substr(0, 12) + "-infra";
      infra.pod = *pod;
      json::object shown = LibpodInspect(infra, InspectContext{request.version});
      shown["IsInfra"] = true;
      return JsonReply(shown);
    }
  }
  RETURN_IF_ERROR(entry.status());
  InspectContext context;
  context.version = request.version;
  context.size = size;
  if (size) context.writable_bytes = WritableSizes(api, {*entry})[entry->container.id()];
  if (!entry->container.image_id().empty()) {
    Result<control::StoredImage> image = api.engine().FindImage(request.libpod, entry->container.image_id());
    if (image.ok() && !image->config_json().empty()) {
      context.image_config = oci::ParseJson(image->config_json()).value_or(json::value(nullptr));
    }
  }
  return JsonReply(request.libpod ? LibpodInspect(*entry, context) : ContainerInspect(*entry, context));
}

Result<Reply> Exists(Api& api, const Request& request) {
  RETURN_IF_ERROR(api.engine().Find(request.libpod, request.Param("name"), false).status());
  return EmptyReply(204);
}

}  // namespace

void AddContainerRoutes(Router& router) {
  router.Add(Flavour::kBoth, "GET", "/containers/json", List);
  router.Add(Flavour::kBoth, "GET", "/containers/{name}/json", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/containers/{name}/exists", Exists);
}

}  // namespace davit::api
