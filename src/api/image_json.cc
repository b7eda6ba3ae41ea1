// Images in answers.
#include <fmt/format.h>

#include "api/json_out.h"
#include "oci/json.h"

namespace davit::api {
namespace {

namespace json = boost::json;

const json::value kNull;

const json::value& Member(const json::value& value, std::string_view key) {
  if (!value.is_object()) return kNull;
  const json::value* found = value.get_object().if_contains(View(key));
  return found == nullptr ? kNull : *found;
}

std::string Word(const json::value& value) {
  return value.is_string() ? std::string(value.get_string().data(), value.get_string().size()) : std::string();
}

// Docker's Config of an image: every key is there.
json::object DockerConfig(const json::value& config) {
  json::object out = {{"Hostname", ""},       {"Domainname", ""},      {"User", ""},
                      {"AttachStdin", false}, {"AttachStdout", false}, {"AttachStderr", false},
                      {"Tty", false},         {"OpenStdin", false},    {"StdinOnce", false},
                      {"Env", nullptr},       {"Cmd", nullptr},        {"Image", ""},
                      {"Volumes", nullptr},   {"WorkingDir", ""},      {"Entrypoint", nullptr},
                      {"OnBuild", nullptr},   {"Labels", nullptr}};
  if (config.is_object()) {
    for (const auto& member : config.get_object()) out[member.key()] = member.value();
  }
  return out;
}

}  // namespace

json::object ImageSummary(const control::StoredImage& image, bool libpod, ApiVersion version) {
  json::object out = {{"Id", libpod ? std::string(BareDigest(image.id())) : image.id()},
                      {"ParentId", ""},
                      {"RepoTags", StringArray(image.tags())},
                      {"RepoDigests", StringArray(image.digests())},
                      {"Created", image.created_at() / 1'000'000'000},
                      {"Size", image.size()},
                      {"SharedSize", image.shared_size()},
                      {"Labels", StringObject(image.labels())},
                      {"Containers", image.containers()}};
  if (libpod || !version.AtLeast(1, 44)) out["VirtualSize"] = image.size();
  if (libpod) {
    out["Names"] = StringArray(image.tags());
    out["Digest"] = image.manifest_digest();
    out["History"] = StringArray(image.tags());
    out["Arch"] = image.architecture();
    out["Os"] = image.os();
    if (image.tags_size() == 0) out["Dangling"] = true;
  }
  return out;
}

json::object ImageInspect(const control::StoredImage& image, bool libpod, ApiVersion version) {
  json::value document;
  if (!image.config_json().empty()) document = oci::ParseJson(image.config_json()).value_or(json::value(nullptr));
  const json::value& config = Member(document, "config");
  json::array layers = StringArray(image.layers());
  if (layers.empty() && Member(Member(document, "rootfs"), "diff_ids").is_array()) {
    layers = Member(Member(document, "rootfs"), "diff_ids").get_array();
  }
  json::array history;
  if (Member(document, "history").is_array()) history = Member(document, "history").get_array();
  std::string comment = history.empty() ? "" : Word(Member(history.back(), "comment"));
  std::string created = Word(Member(document, "created"));
  if (created.empty()) created = GoTime(image.created_at());
  std::string architecture =
      image.architecture().empty() ? Word(Member(document, "architecture")) : image.architecture();
  json::object out = {{"Id", libpod ? std::string(BareDigest(image.id())) : image.id()},
                      {"RepoTags", StringArray(image.tags())},
                      {"RepoDigests", StringArray(image.digests())},
                      {"Parent", ""},
                      {"Comment", comment},
                      {"Created", created},
                      {"Author", Word(Member(document, "author"))},
                      {"Architecture", architecture},
                      {"Os", image.os().empty() ? std::string("linux") : image.os()},
                      {"Size", image.size()},
                      {"GraphDriver", {{"Name", "overlay"}, {"Data", json::object()}}},
                      {"RootFS", {{"Type", "layers"}, {"Layers", std::move(layers)}}}};
  if (!image.variant().empty()) out["Variant"] = image.variant();
  if (libpod) {
    out["Digest"] = image.manifest_digest();
    out["Config"] = config.is_object() ? config : json::value(json::object());
    out["Version"] = "";
    out["VirtualSize"] = image.size();
    out["Labels"] = StringObject(image.labels());
    out["Annotations"] = json::object();
    out["ManifestType"] = "application/vnd.oci.image.manifest.v1+json";
    out["User"] = Word(Member(config, "User"));
    out["History"] = std::move(history);
    out["NamesHistory"] = StringArray(image.tags());
    return out;
  }
  out["Config"] = DockerConfig(config);
  out["DockerVersion"] = "";
  out["Metadata"] = {{"LastTagTime", kGoZeroTime}};
  if (!version.AtLeast(1, 45)) {
    out["Container"] = "";
    out["ContainerConfig"] = DockerConfig(nullptr);
  }
  if (!version.AtLeast(1, 44)) out["VirtualSize"] = image.size();
  return out;
}

}  // namespace davit::api
