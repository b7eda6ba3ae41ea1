#include "network/config.h"

#include <algorithm>
#include <cctype>

#include "base/strings.h"
#include "oci/json.h"

namespace davit::network {
namespace {

namespace json = boost::json;

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Specification: starts with an alphanumeric, then alphanumerics, underscore, dot and hyphen.
bool IsNetworkName(std::string_view name) {
  return IsPathComponent(name) && std::isalnum(static_cast<unsigned char>(name.front())) != 0;
}

size_t VersionRank(std::string_view version) {
  const std::vector<std::string>& known = KnownCniVersions();
  return static_cast<size_t>(std::find(known.begin(), known.end(), version) - known.begin());
}

Result<std::string> ChooseVersion(const oci::JsonNode& root) {
  ASSIGN_OR_RETURN(std::string single, root.Key("cniVersion").StringOr(""));
  ASSIGN_OR_RETURN(std::vector<std::string> offered, root.Key("cniVersions").Strings(64));
  if (single.empty() && offered.empty()) return KnownCniVersions().front();
  if (!single.empty()) offered.push_back(single);
  std::string best;
  for (const std::string& version : offered) {
    if (VersionRank(version) == KnownCniVersions().size()) continue;
    if (best.empty() || VersionRank(version) > VersionRank(best)) best = version;
  }
  if (best.empty()) {
    return root.Key("cniVersion")
        .Error("\"" + Printable(Join(offered, ", ")) + "\" is not supported, only " + Join(KnownCniVersions(), ", "));
  }
  return best;
}

Result<PluginConfig> ParsePlugin(const oci::JsonNode& node) {
  if (!node.is_object()) return node.Error("expected an object");
  PluginConfig plugin;
  ASSIGN_OR_RETURN(plugin.type, node.Key("type").String());
  if (!IsPathComponent(plugin.type)) {
    return node.Key("type").Error("\"" + Printable(plugin.type) + "\" is not the name of a plugin");
  }
  ASSIGN_OR_RETURN(auto capabilities, node.Key("capabilities").Members(64));
  for (const auto& member : capabilities) {
    ASSIGN_OR_RETURN(bool on, member.second.Bool());
    if (on) plugin.capabilities.push_back(member.first);
  }
  plugin.json = oci::WriteJson(*node.value());
  return plugin;
}

}  // namespace

const std::vector<std::string>& KnownCniVersions() {
  static const std::vector<std::string> versions = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
  return versions;
}

bool VersionAtLeast(std::string_view version, std::string_view least) {
  size_t rank = VersionRank(version);
  return rank < KnownCniVersions().size() && rank >= VersionRank(least);
}

bool PluginConfig::Has(std::string_view capability) const {
  return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

bool NetworkConfig::Has(std::string_view capability) const {
  return std::any_of(plugins.begin(), plugins.end(),
                     [&](const PluginConfig& plugin) { return plugin.Has(capability); });
}

NetworkConfig NetworkConfig::Without(std::string_view type) const {
  NetworkConfig rest = *this;
  std::erase_if(rest.plugins, [&](const PluginConfig& plugin) { return plugin.type == type; });
  return rest;
}

std::string NetworkConfig::ToJson() const {
  // The plugins are JSON text already, so that nothing of them is lost on the way.
  std::string text =
      "{\"cniVersion\":" + oci::QuoteJson(cni_version) + ",\"name\":" + oci::QuoteJson(name) + ",\"plugins\":[";
  for (size_t i = 0; i < plugins.size(); ++i) {
    if (i > 0) text += ',';
    text += plugins[i].json;
  }
  return text + "]}";
}

Result<NetworkConfig> ParseNetworkConfig(std::string_view text) {
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(text, kMaxConfigBytes));
  oci::JsonNode root(document, "network configuration");
  if (!root.is_object()) return root.Error("expected an object");
  NetworkConfig config;
  ASSIGN_OR_RETURN(config.cni_version, ChooseVersion(root));
  oci::JsonNode list = root.Key("plugins");
  if (list.present()) {
    ASSIGN_OR_RETURN(std::vector<oci::JsonNode> nodes, list.Elements(kMaxPlugins));
    for (const oci::JsonNode& node : nodes) {
      ASSIGN_OR_RETURN(PluginConfig plugin, ParsePlugin(node));
      config.plugins.push_back(std::move(plugin));
    }
    if (config.plugins.empty()) return list.Error("is empty");
  } else {
    ASSIGN_OR_RETURN(PluginConfig plugin, ParsePlugin(root));
    config.plugins.push_back(std::move(plugin));
  }
  ASSIGN_OR_RETURN(config.name, root.Key("name").StringOr(""));
  if (config.name.empty() && config.plugins.size() == 1 && config.plugins[0].type == "loopback") config.name = "lo";
  if (!IsNetworkName(config.name)) {
    return root.Key("name").Error("\"" + Printable(config.name) + "\" is not a network name");
  }
  return config;
}

Result<std::string> PluginInput(const NetworkConfig& config, size_t index,
                                const std::map<std::string, std::string>& capability_args,
                                std::string_view previous_result) {
  const PluginConfig& plugin = config.plugins.at(index);
  ASSIGN_OR_RETURN(json::value document, oci::ParseJson(plugin.json, kMaxConfigBytes));
  if (!document.is_object()) return Internal("plugin " + plugin.type + ": its configuration is not an object");
  json::object& conf = document.get_object();
  for (const char* field :
       {"capabilities", "cniVersions", "disableCheck", "disableGC", "prevResult", "runtimeConfig"}) {
    conf.erase(field);
  }
  conf["cniVersion"] = View(config.cni_version);
  conf["name"] = View(config.name);
  json::object runtime;
  for (const auto& [capability, args] : capability_args) {
    if (!plugin.Has(capability)) continue;
    ASSIGN_OR_RETURN(json::value value, oci::ParseJson(args));
    runtime[View(capability)] = std::move(value);
  }
  if (!runtime.empty()) conf["runtimeConfig"] = std::move(runtime);
  if (!previous_result.empty()) {
    ASSIGN_OR_RETURN(json::value previous, oci::ParseJson(previous_result));
    conf["prevResult"] = std::move(previous);
  }
  return oci::WriteJson(document);
}

}  // namespace davit::network
