// Images that are there: lists, inspection, history, tags, removal.
#include <fmt/format.h>

#include <boost/json.hpp>

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

const std::vector<std::string> kFilters = {"reference",  "dangling", "label",   "label!",   "before",
                                           "since",      "until",    "id",      "readonly", "intermediate",
                                           "containers", "digest",   "manifest"};

// "busybox" of "docker.io/library/busybox:latest"; a pattern may have * and ?.
bool Glob(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') return Glob(pattern.substr(1), text) || (!text.empty() && Glob(pattern, text.substr(1)));
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) && Glob(pattern.substr(1), text.substr(1));
}

bool ReferenceMatches(const std::string& pattern, const std::string& name) {
  if (pattern.size() > 256) return false;
  size_t at = name.rfind(':');
  std::string untagged = at != std::string::npos && at > name.rfind('/') ? name.substr(0, at) : name;
  std::vector<std::string> shown = {name, untagged};
  for (const char* prefix : {"docker.io/library/", "docker.io/", "localhost/"}) {
    if (!name.starts_with(prefix)) continue;
    shown.push_back(name.substr(std::string_view(prefix).size()));
    shown.push_back(untagged.substr(std::string_view(prefix).size()));
  }
  size_t slash = untagged.rfind('/');
  if (slash != std::string::npos) shown.push_back(untagged.substr(slash + 1));
  if (slash != std::string::npos) shown.push_back(name.substr(slash + 1));
  for (const std::string& text : shown) {
    if (Glob(pattern, text)) return true;
  }
  return false;
}

bool Passes(const control::StoredImage& image, const Filters& filters) {
  if (!filters.Labels(image.labels())) return false;
  if (filters.Has("id")) {
    bool any = false;
    for (const std::string& id : filters.Values("id")) any = any || BareDigest(image.id()).starts_with(BareDigest(id));
    if (!any) return false;
  }
  for (const std::string& text : filters.Values("dangling")) {
    bool wanted = text == "true" || text == "1" || text == "t";
    if (wanted != (image.tags_size() == 0)) return false;
  }
  if (filters.Has("reference")) {
    bool any = false;
    for (const std::string& pattern : filters.Values("reference")) {
      for (const std::string& name : image.tags()) any = any || ReferenceMatches(pattern, name);
      for (const std::string& name : image.digests()) any = any || ReferenceMatches(pattern, name);
    }
    if (!any) return false;
  }
  return true;
}

Result<Reply> List(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, kFilters));
  RETURN_IF_ERROR(request.QueryBool("all", false).status());
  std::string old_filter = request.Query("filter");
  ASSIGN_OR_RETURN(std::vector<control::StoredImage> images, api.engine().Images());
  std::erase_if(images, [&](const control::StoredImage& image) {
    if (!Passes(image, filters)) return true;
    if (old_filter.empty()) return false;
    for (const std::string& name : image.tags()) {
      if (ReferenceMatches(old_filter, name)) return false;
    }
    return true;
  });
  for (const char* key : {"before", "since"}) {
    for (const std::string& name : filters.Values(key)) {
      ASSIGN_OR_RETURN(control::StoredImage other, api.engine().FindImage(request.libpod, name));
      bool before = std::string_view(key) == "before";
      std::erase_if(images, [&](const control::StoredImage& image) {
        return before ? image.created_at() >= other.created_at() : image.created_at() <= other.created_at();
      });
    }
  }
  for (const std::string& text : filters.Values("until")) {
    ASSIGN_OR_RETURN(int64_t until, ParseTimestamp(text, "until"));
    std::erase_if(images, [&](const control::StoredImage& image) { return image.created_at() >= until; });
  }
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a.created_at() > b.created_at(); });
  json::array out;
  for (const control::StoredImage& image : images) out.push_back(ImageSummary(image, request.libpod, request.version));
  return JsonReply(out);
}

Result<Reply> Inspect(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::StoredImage image, api.engine().FindImage(request.libpod, request.Param("name")));
  return JsonReply(ImageInspect(image, request.libpod, request.version));
}

Result<Reply> Exists(Api& api, const Request& request) {
  RETURN_IF_ERROR(api.engine().FindImage(request.libpod, request.Param("name"), false).status());
  return EmptyReply(204);
}

Result<Reply> History(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(control::StoredImage image, api.engine().FindImage(request.libpod, request.Param("name")));
  json::array out;
  Result<json::value> config = oci::ParseJson(image.config_json());
  if (config.ok()) {
    Result<std::vector<oci::JsonNode>> steps = oci::JsonNode(*config, "image").Key("history").Elements();
    int layer = 0;
    for (const oci::JsonNode& step : steps.ok() ? *steps : std::vector<oci::JsonNode>()) {
      bool empty = step.Key("empty_layer").BoolOr(false).value_or(false);
      uint64_t size = !empty && layer < image.layer_sizes_size() ? image.layer_sizes(layer) : 0;
      if (!empty) ++layer;
      int64_t created = ParseTimestamp(step.Key("created").StringOr("").value_or(""), "created").value_or(0);
      out.insert(out.begin(), json::object{{"Id", "<missing>"},
                                           {"Created", created / 1'000'000'000},
                                           {"CreatedBy", step.Key("created_by").StringOr("").value_or("")},
                                           {"Tags", nullptr},
                                           {"Size", size},
                                           {"Comment", step.Key("comment").StringOr("").value_or("")}});
    }
  }
  if (out.empty()) {
    out.push_back({{"Id", "<missing>"},
                   {"Created", image.created_at() / 1'000'000'000},
                   {"CreatedBy", ""},
                   {"Tags", nullptr},
                   {"Size", image.size()},
                   {"Comment", ""}});
  }
  out[0].get_object()["Id"] = request.libpod ? std::string(BareDigest(image.id())) : image.id();
  if (image.tags_size() > 0) out[0].get_object()["Tags"] = StringArray(image.tags());
  return JsonReply(out);
}

Result<Reply> Tag(Api& api, const Request& request) {
  std::string repo = request.Query("repo");
  std::string tag = request.Query("tag");
  if (repo.empty()) return InvalidArgument("repo parameter is required to tag an image");
  ASSIGN_OR_RETURN(control::StoredImage image, api.engine().FindImage(request.libpod, request.Param("name"), false));
  control::TagImageRequest call;
  call.set_image(image.id());
  call.set_reference(tag.empty() ? repo : repo + ":" + tag);
  Result<control::TagImageResponse> response = api.client().Call(call);
  if (api.engine().files.Missing(response.status())) return NeedsDavit("tag");
  RETURN_IF_ERROR(response.status());
  return EmptyReply(201);
}

struct Removed {
  std::vector<std::string> untagged;
  std::string deleted;
};

Result<Removed> RemoveOne(Api& api, bool libpod, const std::string& name, bool force) {
  ASSIGN_OR_RETURN(control::StoredImage image, api.engine().FindImage(libpod, name, false));
  control::RemoveStoredImageRequest call;
  bool by_id = name.size() >= 4 && BareDigest(image.id()).starts_with(BareDigest(name));
  call.set_image(by_id ? image.id() : name);
  call.set_force(force);
  Removed out;
  if (api.engine().files.MayAsk()) {
    Result<control::RemoveStoredImageResponse> response = api.client().Call(call);
    if (!api.engine().files.Missing(response.status())) {
      if (response.code() == StatusCode::kFailedPrecondition) {
        return FailedPrecondition(fmt::format("conflict: unable to remove {}: {}: image is in use", Printable(name),
                                              response.status().message()));
      }
      RETURN_IF_ERROR(response.status());
      out.untagged.assign(response->untagged().begin(), response->untagged().end());
      out.deleted = response->deleted();
      return out;
    }
  }
  // CRI takes all of an image away, whatever names it has.
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  for (const Entry& entry : entries) {
    if (entry.container.image_id() == image.id() && !force) {
      return FailedPrecondition(fmt::format("conflict: unable to remove {}: container {} uses it: image is in use",
                                            Printable(name), entry.name));
    }
  }
  cri::RemoveImageRequest remove;
  remove.mutable_image()->set_image(image.id());
  RETURN_IF_ERROR(api.client().Call(remove).status());
  out.untagged.assign(image.tags().begin(), image.tags().end());
  out.deleted = image.id();
  return out;
}

Result<Reply> Remove(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool force, request.QueryBool("force", false));
  ASSIGN_OR_RETURN(Removed removed, RemoveOne(api, request.libpod, request.Param("name"), force));
  if (request.libpod) {
    json::array deleted;
    if (!removed.deleted.empty()) deleted.emplace_back(View(BareDigest(removed.deleted)));
    return JsonReply(json::object{{"Deleted", std::move(deleted)},
                                  {"Untagged", StringArray(removed.untagged)},
                                  {"Errors", json::array()},
                                  {"ExitCode", 0}});
  }
  json::array out;
  for (const std::string& name : removed.untagged) out.push_back(json::object{{"Untagged", name}});
  if (!removed.deleted.empty()) out.push_back(json::object{{"Deleted", removed.deleted}});
  return JsonReply(out);
}

// Several at once, and each has its own outcome: DELETE /libpod/images/remove.
Result<Reply> RemoveMany(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(bool force, request.QueryBool("force", false));
  ASSIGN_OR_RETURN(bool all, request.QueryBool("all", false));
  ASSIGN_OR_RETURN(bool ignore, request.QueryBool("ignore", false));
  std::vector<std::string> names = request.QueryAll("images");
  if (all) {
    names.clear();
    ASSIGN_OR_RETURN(std::vector<control::StoredImage> images, api.engine().Images());
    for (const control::StoredImage& image : images) names.push_back(image.id());
  }
  json::array errors;
  json::array deleted;
  json::array untagged;
  int code = 0;
  for (const std::string& name : names) {
    Result<Removed> removed = RemoveOne(api, true, name, force || all);
    if (removed.code() == StatusCode::kNotFound && ignore) continue;
    if (!removed.ok()) {
      errors.emplace_back(removed.status().message());
      code = std::max(code, removed.code() == StatusCode::kNotFound ? 1 : 2);
      continue;
    }
    for (const std::string& tag : removed->untagged) untagged.emplace_back(tag);
    if (!removed->deleted.empty()) deleted.emplace_back(View(BareDigest(removed->deleted)));
  }
  json::value listed = nullptr;
  if (!errors.empty()) listed = std::move(errors);
  return JsonReply(json::object{{"Errors", std::move(listed)},
                                {"Deleted", std::move(deleted)},
                                {"Untagged", std::move(untagged)},
                                {"ExitCode", code}});
}

Result<Reply> Prune(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Filters filters, Filters::Of(request, {"dangling", "until", "label", "label!", "all"}));
  ASSIGN_OR_RETURN(bool all, request.QueryBool("all", false));
  // Docker says all by "dangling": false.
  for (const std::string& text : filters.Values("dangling")) all = all || text == "false" || text == "0";
  int64_t until = WallNanos();
  for (const std::string& text : filters.Values("until")) {
    ASSIGN_OR_RETURN(until, ParseTimestamp(text, "until"));
  }
  ASSIGN_OR_RETURN(std::vector<control::StoredImage> images, api.engine().Images());
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  json::array docker;
  json::array libpod;
  uint64_t freed = 0;
  for (const control::StoredImage& image : images) {
    bool used = false;
    for (const Entry& entry : entries) used = used || entry.container.image_id() == image.id();
    if (used || (!all && image.tags_size() > 0) || !filters.Labels(image.labels()) || image.created_at() >= until)
      continue;
    Result<Removed> removed = RemoveOne(api, true, image.id(), true);
    if (!removed.ok()) {
      libpod.push_back({{"Id", View(BareDigest(image.id()))}, {"Err", removed.status().message()}, {"Size", 0}});
      continue;
    }
    freed += image.size() - std::min(image.size(), image.shared_size());
    for (const std::string& tag : removed->untagged) docker.push_back(json::object{{"Untagged", tag}});
    docker.push_back(json::object{{"Deleted", image.id()}});
    libpod.push_back({{"Id", View(BareDigest(image.id()))}, {"Err", nullptr}, {"Size", image.size()}});
  }
  if (request.libpod) return JsonReply(libpod);
  return JsonReply(json::object{{"ImagesDeleted", std::move(docker)}, {"SpaceReclaimed", freed}});
}

}  // namespace

void AddImageRoutes(Router& router) {
  router.Add(Flavour::kBoth, "GET", "/images/json", List);
  router.Add(Flavour::kBoth, "GET", "/images/{name*}/json", Inspect);
  router.Add(Flavour::kLibpod, "GET", "/images/{name*}/exists", Exists);
  router.Add(Flavour::kBoth, "GET", "/images/{name*}/history", History);
  router.Add(Flavour::kBoth, "POST", "/images/{name*}/tag", Tag);
  router.Add(Flavour::kLibpod, "DELETE", "/images/remove", RemoveMany);
  router.Add(Flavour::kBoth, "DELETE", "/images/{name*}", Remove);
  router.Add(Flavour::kBoth, "POST", "/images/prune", Prune);
}

}  // namespace davit::api
