// Named volumes.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/filters.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "base/time.h"
#include "client/client.h"
#include "davit/control/v1/volumes.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const std::vector<std::string> kFilters = {"name",  "label", "label!",    "dangling", "driver", "opt",
                                           "scope", "until", "anonymous", "all",      "since"};

// What davitd says, with the API's words for a service that is not there.
template <class Response>
Status Said(Api& api, const Result<Response>& response) {
  return api.engine().volumes.Missing(response.status()) ? NeedsDavit("volumes") : response.status();
}

Result<std::vector<control::Volume>> AllVolumes(Api& api) {
  Result<control::ListVolumesResponse> response = api.client().Call(control::ListVolumesRequest());
  RETURN_IF_ERROR(Said(api, response));
  return std::vector<control::Volume>(response->volumes().begin(), response->volumes().end());
}

Result<bool> Passes(const control::Volume& volume, const Filters& filters) {
  if (!filters.Matches("name", volume.name()) || !filters.Labels(volume.labels())) return false;
  if (!filters.Equals("driver", volume.driver().empty() ? std::string("local") : volume.driver())) return false;
  if (!filters.Equals("scope", "local")) return false;
  for (const std::string& text : filters.Values("dangling")) {
    bool wanted = text == "true" || text == "1" || text == "t" || text == "True";
    if (wanted != (volume.containers_size() == 0)) return false;
  }
  for (const std::string& text : filters.Values("until")) {
    ASSIGN_OR_RETURN(int64_t until, ParseTimestamp(text, "until"));
    if (volume.created_at() >= until) return false;
  }
  for (const std::string& text : filters.Values("opt")) {
    size_t equals = text.find('=');
    auto it = volume.options().find(text.substr(0, equals));
    if (it == volume.options().end() || (equals != std::string::npos && it->second != text.substr(equals + 1)))
      return false;
  }
  return true;
}

Result<Reply> List(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  Result<std::vector<control::Volume>> volumes = AllVolumes(api);
  // A runtime without volumes has none: that is an answer.
  if (volumes.code() == StatusCode::kUnimplemented) volumes = std::vector<control::Volume>();
  RETURN_IF_ERROR(volumes.status());
  json::array out;
  for (const control::Volume& volume : *volumes) {
    ASSIGN_OR_RETURN(bool passes, Passes(volume, filters));
    if (passes) out.push_back(VolumeObject(volume, request.libpod));
  }
  if (request.libpod) return JsonReply(out);
  return JsonReply(json::object{{"Volumes", std::move(out)}, {"Warnings", json::array()}});
}

Result<control::Volume> FindVolume(Api& api, bool libpod, const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<control::Volume> volumes, AllVolumes(api));
  const control::Volume* found = nullptr;
  for (const control::Volume& volume : volumes) {
    if (volume.name() == name) return volume;
    if (!libpod || !volume.name().starts_with(name)) continue;
    if (found != nullptr)
      return Internal(fmt::format("more than one result for volume name {}: volume already exists", name));
    found = &volume;
  }
  if (found == nullptr) return NoSuchVolume(libpod, name);
  return *found;
}

Result<Reply> Inspect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::Volume volume, FindVolume(api, request.libpod, request.Param("name")));
  return JsonReply(VolumeObject(volume, request.libpod));
}

Result<Reply> Exists(Api& api, const Request& request) {
  RETURN_IF_ERROR(FindVolume(api, request.libpod, request.Param("name")).status());
  return EmptyReply(204);
}

Result<Reply> Create(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  JsonReader body = document.root();
  control::CreateVolumeRequest call;
  call.set_name(body["Name"].Str());
  call.set_driver(body["Driver"].Str("local"));
  if (call.driver().empty()) call.set_driver("local");
  // Podman has "Label" besides Docker's "Labels".
  for (const char* key : {"Labels", "Label"}) {
    for (const auto& [name, value] : body[key].StringMap()) (*call.mutable_labels())[name] = value;
  }
  for (const char* key : {"DriverOpts", "Options"}) {
    for (const auto& [name, value] : body[key].StringMap()) (*call.mutable_options())[name] = value;
  }
  bool ignore = body["IgnoreIfExists"].Bool();
  RETURN_IF_ERROR(document.status());
  Result<control::CreateVolumeResponse> made = api.client().Call(call);
  RETURN_IF_ERROR(Said(api, made));
  if (!made->created() && request.libpod && !ignore) {
    return AlreadyExists(fmt::format("volume with name {} already exists: volume already exists", call.name()));
  }
  return JsonReply(VolumeObject(made->volume(), request.libpod), 201);
}

Result<Reply> Remove(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool force, request.QueryBool("force", false));
  Result<control::Volume> volume = FindVolume(api, request.libpod, request.Param("name"));
  if (volume.code() == StatusCode::kNotFound && force) return EmptyReply(204);
  RETURN_IF_ERROR(volume.status());
  if (volume->containers_size() > 0) {
    return FailedPrecondition(
        request.libpod ? fmt::format("volume {} is being used by the following container(s): {}: volume is being used",
                                     volume->name(), volume->containers(0))
                       : fmt::format("remove {}: volume is in use - [{}]", volume->name(), volume->containers(0)));
  }
  control::RemoveVolumeRequest call;
  call.set_name(volume->name());
  call.set_force(force);
  RETURN_IF_ERROR(Said(api, api.client().Call(call)));
  return EmptyReply(204);
}

Result<Reply> Prune(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  ASSIGN_OR_RETURN(std::vector<control::Volume> volumes, AllVolumes(api));
  // Docker since 1.42 takes anonymous ones alone, unless asked for all; Podman takes all that nobody uses.
  bool all = request.libpod || !request.version.AtLeast(1, 42);
  for (const std::string& text : filters.Values("all")) all = all || text == "true" || text == "1";
  json::array names;
  json::array reports;
  uint64_t freed = 0;
  for (const control::Volume& volume : volumes) {
    ASSIGN_OR_RETURN(bool passes, Passes(volume, filters));
    if (!passes || volume.containers_size() > 0 || (!all && !volume.anonymous())) continue;
    control::RemoveVolumeRequest call;
    call.set_name(volume.name());
    Status status = api.client().Call(call).status();
    reports.push_back({{"Id", volume.name()},
                       {"Err", status.ok() ? json::value(nullptr) : json::value(status.message())},
                       {"Size", volume.bytes()}});
    if (!status.ok()) continue;
    freed += volume.bytes();
    names.emplace_back(volume.name());
  }
  if (request.libpod) return JsonReply(reports);
  return JsonReply(json::object{{"VolumesDeleted", std::move(names)}, {"SpaceReclaimed", freed}});
}

}  // namespace

void AddVolumeRoutes(Router& router) {
  router.Add(Flavour::kCompat, "GET", "/volumes", List);
  router.Add(Flavour::kLibpod, "GET", "/volumes/json", List);
  router.Add(Flavour::kBoth, "POST", "/volumes/create", Create);
  router.Add(Flavour::kBoth, "POST", "/volumes/prune", Prune);
  router.Add(Flavour::kCompat, "GET", "/volumes/{name}", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/volumes/{name}/json", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/volumes/{name}/exists", Exists);
  router.Add(Flavour::kBoth, "DELETE", "/volumes/{name}", Remove);
}

}  // namespace davit::api
