// NetworkConfig: a CNI network configuration as data. Parsing and deriving only, no system calls.
//
// Source: CNI specification, section 1 "Network configuration format" and "Deriving execution
// configuration from plugin configuration". Both the list form and the old single-plugin form are
// read, told apart by their content and not by the file's name.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::network {

inline constexpr size_t kMaxConfigBytes = 1u << 20;
inline constexpr size_t kMaxPlugins = 32;

struct PluginConfig {
  std::string type;                       // one path component
  std::vector<std::string> capabilities;  // those that are true
  std::string json;                       // the plugin's object as it stood in the file

  [[nodiscard]] bool Has(std::string_view capability) const;
};

struct NetworkConfig {
  std::string name;
  std::string cni_version;  // one of KnownCniVersions()
  std::vector<PluginConfig> plugins;

  [[nodiscard]] bool Has(std::string_view capability) const;  // any plugin
  // Without the plugins of this type.
  [[nodiscard]] NetworkConfig Without(std::string_view type) const;
  // The list form; ParseNetworkConfig reads it back.
  [[nodiscard]] std::string ToJson() const;
};

// Oldest first: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0.
const std::vector<std::string>& KnownCniVersions();
// True when both are known and `version` is `least` or later.
bool VersionAtLeast(std::string_view version, std::string_view least);

// Text of at most kMaxConfigBytes with 1 to kMaxPlugins plugins. kInvalidArgument says what is wrong:
// no or a bad name, an unknown version, a plugin type that is not a single path component. A version
// that is not there is 0.1.0; of "cniVersions" the latest known one counts. A lone plugin of the type
// "loopback" needs no name.
Result<NetworkConfig> ParseNetworkConfig(std::string_view text);

// What plugin number `index` of `config` gets on stdin. `capability_args` is JSON text by capability;
// a plugin gets those that it declares. `previous_result` is JSON text or empty.
Result<std::string> PluginInput(const NetworkConfig& config, size_t index,
                                const std::map<std::string, std::string>& capability_args,
                                std::string_view previous_result);

}  // namespace davit::network
