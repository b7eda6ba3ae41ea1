#include "container/cdi_spec.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "base/strings.h"
#include "oci/json.h"
#include "oci/yaml.h"

namespace davit::container {
namespace {

using oci::JsonNode;

// Versions of the specification, oldest first; an index into it is what the checks compare.
constexpr std::array<std::string_view, 8> kVersions = {"0.3.0", "0.4.0", "0.5.0", "0.6.0",
                                                       "0.7.0", "0.8.0", "1.0.0", "1.1.0"};
enum Version : size_t { k030, k040, k050, k060, k070, k080, k100, k110 };

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlphanumeric(char c) { return IsLetter(c) || IsDigit(c); }

bool IsName(std::string_view text, std::string_view others, bool digit_first) {
  if (text.empty() || text.size() > 253) return false;
  if (!IsLetter(text.front()) && !(digit_first && IsDigit(text.front()))) return false;
  if (!IsAlphanumeric(text.back())) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return IsAlphanumeric(c) || others.find(c) != std::string_view::npos; });
}

// "vendor.com/class".
bool IsKind(std::string_view kind) {
  size_t slash = kind.find('/');
  if (slash == std::string_view::npos) return false;
  return IsName(kind.substr(0, slash), "_-.", false) && IsName(kind.substr(slash + 1), "_-.", false);
}

bool IsDeviceName(std::string_view name) { return IsName(name, "_-.:", true); }

bool IsAbsolute(const std::string& path) {
  return !path.empty() && path[0] == '/' && path.size() <= 4096 && path.find('\0') == std::string::npos;
}

// In a container: nothing that climbs.
bool IsContainerPath(const std::string& path) {
  if (!IsAbsolute(path)) return false;
  std::vector<std::string> parts = Split(path, '/');
  return std::find(parts.begin(), parts.end(), "..") == parts.end();
}

class Parser {
 public:
  explicit Parser(size_t version) : version_(version) {}

  Result<CdiSpec> Spec(const JsonNode& root);

 private:
  // The keys of one object, each with the version that brought it.
  struct Known {
    std::string_view key;
    size_t since = k030;
  };
  [[nodiscard]] Status CheckKeys(const JsonNode& node, const std::vector<Known>& known) const;
  [[nodiscard]] Status Needs(size_t since, const JsonNode& node, std::string_view what) const;
  Result<CdiDevice> Device(const JsonNode& node);
  Result<CdiEdits> Edits(const JsonNode& node);
  Result<CdiDeviceNode> DeviceNode(const JsonNode& node);
  Result<CdiMount> Mount(const JsonNode& node);
  Result<CdiHook> Hook(const JsonNode& node);
  // Annotations of a specification are for people and tools; they are checked and dropped.
  [[nodiscard]] Status Annotations(const JsonNode& node) const;

  size_t version_;
};

Status Parser::Needs(size_t since, const JsonNode& node, std::string_view what) const {
  if (version_ >= since) return {};
  return node.Error(std::string(what) + " needs cdiVersion " + std::string(kVersions.at(since)) +
                    " or later, the file declares " + std::string(kVersions.at(version_)));
}

Status Parser::CheckKeys(const JsonNode& node, const std::vector<Known>& known) const {
  ASSIGN_OR_RETURN(std::vector<std::string> keys, node.Keys(64));
  for (const std::string& key : keys) {
    auto it = std::find_if(known.begin(), known.end(), [&](const Known& k) { return k.key == key; });
    if (it == known.end()) return node.Error("\"" + Printable(key) + "\" is no key of the specification");
    if (node.Key(key).present()) RETURN_IF_ERROR(Needs(it->since, node, key));
  }
  return {};
}

Status Parser::Annotations(const JsonNode& node) const { return node.Key("annotations").StringMap(256).status(); }

// A list of texts that become C strings.
Result<std::vector<std::string>> Texts(const JsonNode& node, bool assignments) {
  ASSIGN_OR_RETURN(std::vector<std::string> texts, node.Strings(kMaxCdiEdits));
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) return node.Error("contains a NUL byte");
    if (!assignments) continue;
    size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) return node.Error("\"" + Printable(text) + "\" is not NAME=VALUE");
  }
  return texts;
}

Result<std::optional<uint32_t>> OptionalUint32(const JsonNode& node) {
  if (!node.present()) return std::optional<uint32_t>();
  ASSIGN_OR_RETURN(uint64_t value, node.Uint64());
  if (value > std::numeric_limits<uint32_t>::max()) return node.Error("is too large");
  return std::optional(static_cast<uint32_t>(value));
}

Result<std::optional<int64_t>> OptionalNumber(const JsonNode& node, int64_t max) {
  if (!node.present()) return std::optional<int64_t>();
  ASSIGN_OR_RETURN(int64_t value, node.Int64());
  if (value < 0 || value > max) return node.Error("is not in 0.." + std::to_string(max));
  return std::optional(value);
}

Result<CdiDeviceNode> Parser::DeviceNode(const JsonNode& node) {
  RETURN_IF_ERROR(CheckKeys(
      node,
      {{"path"}, {"hostPath", k050}, {"type"}, {"major"}, {"minor"}, {"fileMode"}, {"permissions"}, {"uid"}, {"gid"}}));
  CdiDeviceNode out;
  ASSIGN_OR_RETURN(out.path, node.Key("path").String());
  ASSIGN_OR_RETURN(out.host_path, node.Key("hostPath").StringOr(""));
  if (!IsContainerPath(out.path)) return node.Key("path").Error("is not an absolute path without \"..\"");
  if (!out.host_path.empty() && !IsAbsolute(out.host_path)) return node.Key("hostPath").Error("is not absolute");
  ASSIGN_OR_RETURN(std::string type, node.Key("type").StringOr(""));
  if (type.size() > 1 || (!type.empty() && std::string_view("bcup").find(type[0]) == std::string_view::npos)) {
    return node.Key("type").Error("is none of b, c, u and p");
  }
  if (!type.empty()) out.type = type[0];
  constexpr int64_t kMaxNumber = (int64_t{1} << 32) - 1;
  ASSIGN_OR_RETURN(out.major, OptionalNumber(node.Key("major"), kMaxNumber));
  ASSIGN_OR_RETURN(out.minor, OptionalNumber(node.Key("minor"), kMaxNumber));
  ASSIGN_OR_RETURN(out.file_mode, OptionalUint32(node.Key("fileMode")));
  if (out.file_mode && *out.file_mode > 07777) return node.Key("fileMode").Error("has other bits than permissions");
  ASSIGN_OR_RETURN(out.permissions, node.Key("permissions").StringOr(""));
  if (out.permissions.size() > 3 || out.permissions.find_first_not_of("rwm") != std::string::npos) {
    return node.Key("permissions").Error("has other letters than rwm");
  }
  ASSIGN_OR_RETURN(out.uid, OptionalUint32(node.Key("uid")));
  ASSIGN_OR_RETURN(out.gid, OptionalUint32(node.Key("gid")));
  return out;
}

Result<CdiMount> Parser::Mount(const JsonNode& node) {
  RETURN_IF_ERROR(CheckKeys(node, {{"hostPath"}, {"containerPath"}, {"options"}, {"type", k040}}));
  CdiMount out;
  ASSIGN_OR_RETURN(out.host_path, node.Key("hostPath").String());
  ASSIGN_OR_RETURN(out.container_path, node.Key("containerPath").String());
  ASSIGN_OR_RETURN(out.type, node.Key("type").StringOr(""));
  ASSIGN_OR_RETURN(out.options, Texts(node.Key("options"), false));
  if (out.host_path.empty() || out.host_path.size() > 4096) return node.Key("hostPath").Error("is empty or too long");
  if (!IsContainerPath(out.container_path) || out.container_path.find_first_not_of('/') == std::string::npos) {
    return node.Key("containerPath").Error("is not an absolute path below / without \"..\"");
  }
  return out;
}

Result<CdiHook> Parser::Hook(const JsonNode& node) {
  static const std::set<std::string> kNames = {"prestart",       "createRuntime", "createContainer",
                                               "startContainer", "poststart",     "poststop"};
  RETURN_IF_ERROR(CheckKeys(node, {{"hookName"}, {"path"}, {"args"}, {"env"}, {"timeout"}}));
  CdiHook out;
  ASSIGN_OR_RETURN(out.name, node.Key("hookName").String());
  if (kNames.count(out.name) == 0) return node.Key("hookName").Error("\"" + Printable(out.name) + "\" is no hook");
  ASSIGN_OR_RETURN(out.path, node.Key("path").String());
  if (!IsAbsolute(out.path)) return node.Key("path").Error("is not absolute");
  ASSIGN_OR_RETURN(out.args, Texts(node.Key("args"), false));
  ASSIGN_OR_RETURN(out.env, Texts(node.Key("env"), true));
  ASSIGN_OR_RETURN(out.timeout, OptionalNumber(node.Key("timeout"), 3600));
  if (out.timeout == 0) return node.Key("timeout").Error("is not positive");
  return out;
}

template <class T, class F>
Result<std::vector<T>> ListOf(const JsonNode& node, F parse) {
  std::vector<T> out;
  ASSIGN_OR_RETURN(std::vector<JsonNode> items, node.Elements(kMaxCdiEdits));
  for (const JsonNode& item : items) {
    if (!item.is_object()) return item.Error("expected an object");
    ASSIGN_OR_RETURN(T value, parse(item));
    out.push_back(std::move(value));
  }
  return out;
}

Result<CdiEdits> Parser::Edits(const JsonNode& node) {
  CdiEdits edits;
  if (!node.present() && node.status().ok()) return edits;
  if (!node.is_object()) return node.Error("expected an object");
  RETURN_IF_ERROR(CheckKeys(node, {{"env"},
                                   {"deviceNodes"},
                                   {"mounts"},
                                   {"hooks"},
                                   {"additionalGids", k070},
                                   {"intelRdt", k070},
                                   {"netDevices", k110}}));
  for (const char* key : {"intelRdt", "netDevices"}) {
    if (node.Key(key).present()) return Unimplemented(node.path() + "." + key + ": Davit does not make this edit");
  }
  ASSIGN_OR_RETURN(edits.env, Texts(node.Key("env"), true));
  ASSIGN_OR_RETURN(edits.device_nodes,
                   ListOf<CdiDeviceNode>(node.Key("deviceNodes"), [this](const JsonNode& n) { return DeviceNode(n); }));
  ASSIGN_OR_RETURN(edits.mounts, ListOf<CdiMount>(node.Key("mounts"), [this](const JsonNode& n) { return Mount(n); }));
  ASSIGN_OR_RETURN(edits.hooks, ListOf<CdiHook>(node.Key("hooks"), [this](const JsonNode& n) { return Hook(n); }));
  ASSIGN_OR_RETURN(std::vector<JsonNode> groups, node.Key("additionalGids").Elements(kMaxCdiEdits));
  for (const JsonNode& group : groups) {
    ASSIGN_OR_RETURN(std::optional<uint32_t> gid, OptionalUint32(group));
    if (gid && *gid != 0) edits.additional_gids.push_back(*gid);  // 0 is "not set" in the specification's own types
  }
  return edits;
}

Result<CdiDevice> Parser::Device(const JsonNode& node) {
  if (!node.is_object()) return node.Error("expected an object");
  RETURN_IF_ERROR(CheckKeys(node, {{"name"}, {"annotations", k060}, {"containerEdits"}}));
  RETURN_IF_ERROR(Annotations(node));
  CdiDevice device;
  ASSIGN_OR_RETURN(device.name, node.Key("name").String());
  if (!IsDeviceName(device.name)) return node.Key("name").Error("\"" + Printable(device.name) + "\" is no device name");
  if (IsDigit(device.name[0])) RETURN_IF_ERROR(Needs(k050, node, "a name that begins with a digit"));
  ASSIGN_OR_RETURN(device.edits, Edits(node.Key("containerEdits")));
  return device;
}

Result<CdiSpec> Parser::Spec(const JsonNode& root) {
  RETURN_IF_ERROR(CheckKeys(root, {{"cdiVersion"}, {"kind"}, {"annotations", k060}, {"devices"}, {"containerEdits"}}));
  RETURN_IF_ERROR(Annotations(root));
  CdiSpec spec;
  spec.version = kVersions.at(version_);
  ASSIGN_OR_RETURN(spec.kind, root.Key("kind").String());
  if (!IsKind(spec.kind)) return root.Key("kind").Error("\"" + Printable(spec.kind) + "\" is not VENDOR/CLASS");
  if (spec.kind.find('.', spec.kind.find('/')) != std::string::npos) {
    RETURN_IF_ERROR(Needs(k060, root.Key("kind"), "a class with a dot"));
  }
  ASSIGN_OR_RETURN(std::vector<JsonNode> devices, root.Key("devices").Elements(kMaxCdiDevices));
  if (devices.empty()) return root.Key("devices").Error("is empty");
  std::set<std::string> names;
  for (const JsonNode& node : devices) {
    ASSIGN_OR_RETURN(CdiDevice device, Device(node));
    if (!names.insert(device.name).second) return node.Error("device \"" + device.name + "\" is there already");
    spec.devices.push_back(std::move(device));
  }
  ASSIGN_OR_RETURN(spec.edits, Edits(root.Key("containerEdits")));
  return spec;
}

Result<boost::json::value> Document(std::string_view text, CdiFormat format) {
  if (text.size() > kMaxCdiFile) return ResourceExhausted("larger than " + HumanBytes(kMaxCdiFile));
  if (format == CdiFormat::kJson) return oci::ParseJson(text, kMaxCdiFile, kMaxCdiDepth);
  ASSIGN_OR_RETURN(std::string converted, oci::YamlToJson(text, kMaxCdiDepth, kMaxCdiNodes));
  // What aliases stand for may be longer than the file.
  return oci::ParseJson(converted, 4 * kMaxCdiFile, kMaxCdiDepth);
}

}  // namespace

Result<CdiSpec> ParseCdiSpec(std::string_view text, CdiFormat format) {
  ASSIGN_OR_RETURN(boost::json::value document, Document(text, format));
  JsonNode root(document, "cdi");
  if (!root.is_object()) return root.Error("expected an object");
  ASSIGN_OR_RETURN(std::string version, root.Key("cdiVersion").String());
  auto known = std::find(kVersions.begin(), kVersions.end(), version);
  if (known == kVersions.end()) {
    return root.Key("cdiVersion").Error("\"" + Printable(version) + "\" is none of 0.3.0 to 1.1.0");
  }
  return Parser(static_cast<size_t>(known - kVersions.begin())).Spec(root);
}

Result<CdiName> ParseCdiName(std::string_view text) {
  size_t equals = text.find('=');
  if (equals != std::string_view::npos && IsKind(text.substr(0, equals)) && IsDeviceName(text.substr(equals + 1))) {
    return CdiName{std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
  }
  return InvalidArgument("\"" + Printable(text) + "\" is not VENDOR/CLASS=NAME");
}

}  // namespace davit::container
