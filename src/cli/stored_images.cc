// davit images, rmi, tag, history: images as people look at them.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/strings.h"
#include "base/time.h"
#include "cli/everyday.h"
#include "cli/filters.h"
#include "cli/format.h"
#include "cli/run_values.h"
#include "cli/table.h"
#include "davit/control/v1/files.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

struct NameAndTag {
  std::string name = "<none>";
  std::string tag = "<none>";
};

NameAndTag SplitTag(const std::string& reference) {
  size_t at = reference.find('@');
  size_t colon = reference.rfind(':');
  const bool tagged =
      at == std::string::npos && colon != std::string::npos && reference.find('/', colon) == std::string::npos;
  return {reference.substr(0, tagged ? colon : at), tagged ? reference.substr(colon + 1) : "<none>"};
}

// "redis", "library/redis:7" and "docker.io/library/redis:7" all mean the last; * stands for anything.
bool Fits(std::string_view text, std::string_view pattern) {
  size_t star = pattern.find('*');
  if (star == std::string_view::npos) return text == pattern;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  text.remove_prefix(star);
  pattern.remove_prefix(star + 1);
  for (size_t i = 0; i <= text.size(); ++i) {
    if (Fits(text.substr(i), pattern)) return true;
  }
  return false;
}

bool NameFits(const std::string& reference, const std::string& pattern) {
  const NameAndTag parts = SplitTag(reference);
  const bool with_tag = SplitTag(pattern).tag != "<none>";
  std::string text = with_tag ? parts.name + ":" + parts.tag : parts.name;
  for (;;) {
    if (Fits(text, pattern)) return true;
    size_t slash = text.find('/');
    if (slash == std::string::npos) return false;
    text = text.substr(slash + 1);
  }
}

bool Dangling(const control::StoredImage& image) { return image.tags().empty(); }

bool Holds(const control::StoredImage& image, const std::string& key, const std::string& value) {
  if (key == "dangling") return Dangling(image) == (value == "true");
  if (key == "reference") {
    return std::any_of(image.tags().begin(), image.tags().end(),
                       [&](const std::string& tag) { return NameFits(tag, value); });
  }
  return LabelHolds(image.labels(), value);
}

auto HoldsOf(const control::StoredImage& image) {
  return [&image](const std::string& key, const std::string& value) { return Holds(image, key, value); };
}

Result<control::StoredImage> FindImage(const Context& context, const std::string& name) {
  control::ListStoredImagesRequest request;
  request.add_images(name);
  request.set_full(true);
  ASSIGN_OR_RETURN(control::ListStoredImagesResponse found, context.client.Call(request));
  if (found.images_size() != 1) return NotFound("no image \"" + Printable(name) + "\"");
  return found.images(0);
}

}  // namespace

Result<int> Images(const Context& context, const ImagesOptions& options) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(options.filters, {"dangling", "reference", "label"}));
  control::ListStoredImagesRequest request;
  Result<control::ListStoredImagesResponse> list = context.client.Call(request);
  if (list.code() == StatusCode::kUnimplemented && filters.empty() && !options.digests) {
    return ImageList(context, options.reference, options.quiet);
  }
  RETURN_IF_ERROR(list.status());
  if (!options.reference.empty()) filters.emplace("reference", options.reference);
  control::ListStoredImagesResponse shown;
  for (const control::StoredImage& image : list->images()) {
    const bool by_id = !options.reference.empty() && DisplayId(image.id(), true).find(options.reference) <= 7 &&
                       options.reference.size() >= 4;
    if (by_id || Matches(filters, HoldsOf(image))) *shown.add_images() = image;
  }
  std::sort(shown.mutable_images()->begin(), shown.mutable_images()->end(), [](const auto& a, const auto& b) {
    return std::tuple(-a.created_at(), a.id()) < std::tuple(-b.created_at(), b.id());
  });
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(shown));
    return 0;
  }
  std::vector<std::string> header = {"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"};
  if (options.digests) header.insert(header.begin() + 2, "DIGEST");
  Table table(header);
  for (const control::StoredImage& image : shown.images()) {
    if (options.quiet) {
      PrintLine(image.id());
      continue;
    }
    std::vector<NameAndTag> names;
    for (const std::string& tag : image.tags()) {
      if (options.reference.empty() || NameFits(tag, options.reference)) names.push_back(SplitTag(tag));
    }
    if (names.empty() && !image.digests().empty()) names.push_back(SplitTag(image.digests(0)));
    if (names.empty()) names.emplace_back();
    for (const NameAndTag& name : names) {
      std::vector<std::string> cells = {name.name, name.tag, DisplayId(image.id(), context.out.full),
                                        Moment(context.out, image.created_at()), HumanBytes(image.size())};
      if (options.digests) cells.insert(cells.begin() + 2, image.manifest_digest());
      table.AddRow(std::move(cells));
    }
  }
  if (!options.quiet) Print(table.Render(context.out.colour));
  return 0;
}

Result<int> RemoveImages(const Context& context, const Names& images, bool force) {
  int code = 0;
  for (const std::string& name : images) {
    control::RemoveStoredImageRequest request;
    request.set_image(name);
    request.set_force(force);
    Result<control::RemoveStoredImageResponse> removed = context.client.Call(request);
    if (removed.code() == StatusCode::kUnimplemented) return ImageRemove(context, images);
    if (removed.code() == StatusCode::kUnavailable) return removed.status();
    if (!removed.ok()) {
      if (force && removed.code() == StatusCode::kNotFound) continue;
      PrintError(removed.status());
      code = 1;
      continue;
    }
    for (const std::string& tag : removed->untagged()) PrintLine("Untagged: " + tag);
    if (!removed->deleted().empty()) PrintLine("Deleted: " + removed->deleted());
  }
  return code;
}

Result<int> TagImage(const Context& context, const std::string& image, const Names& references) {
  for (const std::string& reference : references) {
    control::TagImageRequest request;
    request.set_image(image);
    request.set_reference(reference);
    RETURN_IF_ERROR(context.client.Call(request).status());
  }
  return 0;
}

Result<int> History(const Context& context, const std::string& name) {
  ASSIGN_OR_RETURN(control::StoredImage image, FindImage(context, name));
  boost::json::error_code error;
  boost::json::value config = boost::json::parse(image.config_json(), error);
  const boost::json::object* object = error ? nullptr : config.if_object();
  const boost::json::value* history = object == nullptr ? nullptr : object->if_contains("history");
  if (context.out.json) {
    PrintLine(history == nullptr ? "[]" : boost::json::serialize(*history));
    return 0;
  }
  auto text = [](const boost::json::object& entry, const char* key) {
    const boost::json::value* found = entry.if_contains(key);
    return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
  };
  // The oldest first, as the layers; shown the newest first.
  std::vector<std::vector<std::string>> rows;
  int layer = 0;
  if (history != nullptr && history->is_array()) {
    for (const boost::json::value& one : history->get_array()) {
      const boost::json::object* entry = one.if_object();
      if (entry == nullptr) continue;
      const boost::json::value* empty = entry->if_contains("empty_layer");
      const bool has_layer = empty == nullptr || !empty->is_bool() || !empty->get_bool();
      uint64_t size = 0;
      if (has_layer && layer < image.layer_sizes_size()) size = image.layer_sizes(layer);
      layer += has_layer ? 1 : 0;
      std::string by = text(*entry, "created_by");
      if (!context.out.full && by.size() > 60) by = by.substr(0, 57) + "...";
      rows.push_back({text(*entry, "created"), by, HumanBytes(size), text(*entry, "comment")});
    }
  }
  Table table({"CREATED", "CREATED BY", "SIZE", "COMMENT"});
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) table.AddRow(*row);
  Print(table.Render(context.out.colour));
  return 0;
}

Result<int> ImagePrune(const Context& context, bool all, const Names& texts) {
  ASSIGN_OR_RETURN(Filters filters, ParseFilters(texts, {"label", "until"}));
  int64_t until = WallNanos();
  if (auto found = filters.find("until"); found != filters.end()) {
    ASSIGN_OR_RETURN(until, ParseMoment(found->second, "--filter until", WallNanos()));
    filters.erase("until");
  }
  ASSIGN_OR_RETURN(control::ListStoredImagesResponse list, context.client.Call(control::ListStoredImagesRequest()));
  Names names;
  for (const control::StoredImage& image : list.images()) {
    if (image.containers() != 0 || image.created_at() > until || !Matches(filters, HoldsOf(image))) continue;
    if (Dangling(image)) names.push_back(image.id());
    // Name by name, the last one with the image: a container that came meanwhile keeps it.
    if (all) names.insert(names.end(), image.tags().begin(), image.tags().end());
  }
  int code = 0;
  for (const std::string& name : names) {
    control::RemoveStoredImageRequest request;
    request.set_image(name);
    Result<control::RemoveStoredImageResponse> removed = context.client.Call(request);
    if (removed.ok()) {
      for (const std::string& tag : removed->untagged()) PrintLine("Untagged: " + tag);
      if (!removed->deleted().empty()) PrintLine("Deleted: " + removed->deleted());
    } else if (removed.code() != StatusCode::kFailedPrecondition) {
      PrintError(removed.status());
      code = 1;
    }
  }
  return code;
}

}  // namespace davit::cli
