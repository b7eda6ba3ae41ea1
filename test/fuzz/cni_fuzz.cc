// What CNI plugins print, what lies in the configuration directory and what a pod's record holds: the caps
// hold, addresses are addresses, and what was read can be written and read again.
#include <arpa/inet.h>

#include <string>

#include "fuzz.h"
#include "network/config.h"
#include "network/network.h"
#include "network/request.h"
#include "network/result.h"

namespace network = davit::network;

namespace {

bool IsAddress(const std::string& text) {
  in6_addr buffer{};
  if (text.find_first_not_of("0123456789abcdefABCDEF.:") != std::string::npos) return false;
  return ::inet_pton(AF_INET, text.c_str(), &buffer) == 1 || ::inet_pton(AF_INET6, text.c_str(), &buffer) == 1;
}

void FuzzConfig(std::string_view text) {
  auto config = network::ParseNetworkConfig(text);
  if (!config.ok()) return;
  FUZZ_REQUIRE(!config->plugins.empty() && config->plugins.size() <= network::kMaxPlugins);
  FUZZ_REQUIRE(network::VersionAtLeast(config->cni_version, "0.1.0"));
  // The list form adds a few bytes, so only texts well below the cap must read back.
  if (text.size() > network::kMaxConfigBytes / 8) return;
  auto again = network::ParseNetworkConfig(config->ToJson());
  FUZZ_REQUIRE(again.ok() && again->name == config->name && again->cni_version == config->cni_version);
  FUZZ_REQUIRE(again->plugins.size() == config->plugins.size());
  for (size_t i = 0; i < config->plugins.size(); ++i) {
    const network::PluginConfig& plugin = config->plugins[i];
    FUZZ_REQUIRE(plugin.type.find_first_of(std::string_view("/\0", 2)) == std::string::npos);  // becomes a path
    FUZZ_REQUIRE(again->plugins[i].type == plugin.type && again->plugins[i].capabilities == plugin.capabilities);
    auto input = network::PluginInput(*config, i, {{"portMappings", "[]"}}, R"({"cniVersion":"1.0.0"})");
    FUZZ_REQUIRE(input.ok());
    // What a plugin gets is itself the old form of a configuration.
    auto single = network::ParseNetworkConfig(*input);
    FUZZ_REQUIRE(!single.ok() || (single->name == config->name && single->cni_version == config->cni_version));
  }
}

void FuzzResult(std::string_view text) {
  auto result = network::ParseCniResult(text);
  if (!result.ok()) return;
  FUZZ_REQUIRE(result->ips.size() <= network::kMaxResultAddresses + 2);
  for (const std::string& ip : result->ips) FUZZ_REQUIRE(IsAddress(ip));
  if (text.size() > network::kMaxResultBytes / 8) return;
  for (const char* version : {"0.2.0", "0.4.0", "1.0.0"}) {
    auto converted = network::ConvertCniResult(text, version);
    FUZZ_REQUIRE(converted.ok());
    auto again = network::ParseCniResult(*converted);
    FUZZ_REQUIRE(again.ok() && again->cni_version == version);
  }
}

void FuzzAttachment(std::string_view text) {
  auto attachment = network::Attachment::Parse(text);
  if (!attachment.ok()) return;
  for (const network::PortMapping& port : attachment->ports) {
    FUZZ_REQUIRE(port.host_port >= 1 && port.host_port <= 65535);
  }
  auto again = network::Attachment::Parse(attachment->ToJson());
  FUZZ_REQUIRE(again.ok() && *again == *attachment);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  FuzzConfig(text);
  FuzzResult(text);
  FuzzAttachment(text);
  davit::Status error = network::ParseCniError(text);
  // The plugin's text ends up in logs and in the kubelet's events.
  for (char c : error.message()) FUZZ_REQUIRE(c >= 0x20 && c < 0x7f);
  if (auto rate = network::ParseBandwidth(text)) FUZZ_REQUIRE(*rate >= 1 && *rate <= uint64_t{1} << 50);
  return 0;
}
