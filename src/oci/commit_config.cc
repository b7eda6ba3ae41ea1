#include "oci/commit_config.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "base/strings.h"
#include "oci/config_changes.h"
#include "oci/image_spec.h"
#include "oci/json.h"

namespace davit::oci {
namespace {

namespace json = boost::json;

// What an image's config has of Docker's Config; the rest (Hostname, Tty, …) is of one container.
constexpr std::array<std::string_view, 13> kKeys = {
    "User",   "ExposedPorts", "Env",         "Entrypoint", "Cmd",   "Volumes",    "WorkingDir",
    "Labels", "StopSignal",   "Healthcheck", "OnBuild",    "Shell", "ArgsEscaped"};

Result<json::object> ParseObject(const std::string& text, const std::string& what) {
  if (text.empty()) return json::object();
  Result<json::value> document = ParseJson(text);
  if (!document.ok()) return document.status().Annotate(what);
  if (document->is_null()) return json::object();
  if (!document->is_object()) return InvalidArgument(what + ": it is no JSON object");
  return std::move(document->as_object());
}

bool IsEmpty(const json::value& value) {
  if (value.is_null()) return true;
  if (const json::string* text = value.if_string()) return text->empty();
  if (const json::array* list = value.if_array()) return list->empty();
  if (const json::object* map = value.if_object()) return map->empty();
  return false;
}

json::string_view NameOf(const json::value& variable) {
  const json::string_view text = variable.is_string() ? json::string_view(variable.as_string()) : json::string_view();
  return text.substr(0, text.find('='));
}

void MergeEnv(const json::array& from, json::value& to) {
  if (!to.is_array()) to = json::array();
  json::array& list = to.as_array();
  for (const json::value& variable : from) {
    auto* same =
        std::find_if(list.begin(), list.end(), [&](const json::value& v) { return NameOf(v) == NameOf(variable); });
    if (same == list.end()) {
      list.push_back(variable);
    } else {
      *same = variable;
    }
  }
}

// Names in any case, as Go's decoder takes them.
std::string_view KeyOf(std::string_view name) {
  const auto* found = std::find_if(kKeys.begin(), kKeys.end(), [&](std::string_view key) {
    return key.size() == name.size() &&
           std::equal(key.begin(), key.end(), name.begin(), [](char a, char b) { return (a | 0x20) == (b | 0x20); });
  });
  return found == kKeys.end() ? std::string_view() : *found;
}

void Merge(const json::object& from, json::object& to) {
  bool entrypoint = false;
  bool command = false;
  for (const auto& [name, value] : from) {
    const std::string_view key = KeyOf({name.data(), name.size()});
    if (key.empty() || IsEmpty(value)) continue;
    entrypoint = entrypoint || key == "Entrypoint";
    command = command || key == "Cmd";
    json::value& place = to[key];
    if (key == "Env" && value.is_array()) {
      MergeEnv(value.as_array(), place);
    } else if (value.is_object() && place.is_object() && key != "Healthcheck") {
      for (const auto& [item, content] : value.as_object()) place.as_object()[item] = content;
    } else {
      place = value;
    }
  }
  // A command is of its entrypoint.
  if (entrypoint && !command) to.erase("Cmd");
}

std::string CreatedBy(const json::object& config) {
  const json::value* command = config.if_contains("Cmd");
  std::string text;
  if (command == nullptr || !command->is_array()) return text;
  for (const json::value& word : command->as_array()) {
    if (!word.is_string()) continue;
    text += (text.empty() ? "" : " ") + std::string(word.as_string());
  }
  return text;
}

json::array& ArrayAt(json::object& object, const char* key) {
  json::value& value = object[key];
  if (!value.is_array()) value = json::array();
  return value.as_array();
}

}  // namespace

Result<std::string> MakeCommitConfig(const CommitSettings& settings) {
  ASSIGN_OR_RETURN(const json::object parent, ParseObject(settings.parent, "the image's config"));
  ASSIGN_OR_RETURN(const json::object container, ParseObject(settings.container, "the container's config"));
  ASSIGN_OR_RETURN(const json::object request, ParseObject(settings.config, "config"));
  json::object config;
  if (const json::value* of_image = parent.if_contains("config"); of_image != nullptr && of_image->is_object()) {
    config = of_image->as_object();
  }
  for (const auto& [key, value] : container) {
    if (value.is_null()) {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  const std::string created_by = CreatedBy(config);
  Merge(request, config);
  RETURN_IF_ERROR(ApplyChanges(settings.changes, config));

  json::object document;
  for (const char* key : {"architecture", "os", "variant", "os.version", "os.features"}) {
    if (const json::value* value = parent.if_contains(key)) document[key] = *value;
  }
  document["created"] = settings.created;
  if (!settings.author.empty()) document["author"] = settings.author;
  document["config"] = std::move(config);
  json::object rootfs;
  if (const json::value* value = parent.if_contains("rootfs"); value != nullptr && value->is_object()) {
    rootfs = value->as_object();
  }
  rootfs["type"] = "layers";
  ArrayAt(rootfs, "diff_ids").emplace_back(settings.diff_id.ToString());
  document["rootfs"] = std::move(rootfs);
  if (const json::value* history = parent.if_contains("history")) document["history"] = *history;
  json::object entry{{"created", settings.created}};
  if (!created_by.empty()) entry["created_by"] = created_by;
  if (!settings.author.empty()) entry["author"] = settings.author;
  if (!settings.comment.empty()) entry["comment"] = settings.comment;
  ArrayAt(document, "history").push_back(std::move(entry));
  std::string text = json::serialize(document);
  RETURN_IF_ERROR(ParseImageConfig(text).status().Annotate("config"));  // what no pull would take is not made
  return text;
}

}  // namespace davit::oci
