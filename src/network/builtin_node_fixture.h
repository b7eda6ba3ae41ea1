// For tests: a node whose pods' network is made by the plugins or by davitd, from one configuration.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "network/builtin.h"
#include "network/netns.h"
#include "network/plugin_fixture.h"
#include "network/private_node_fixture.h"
#include "sys/process.h"

namespace davit::network {

inline constexpr char kPluginDir[] = "/usr/lib/cni";

inline Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

inline const char* MissingHere() {
  if (::geteuid() != 0) return "needs root, for network namespaces";
  for (const char* name : {"bridge", "host-local", "portmap", "tuning", "bandwidth"}) {
    if (::access((std::string(kPluginDir) + "/" + name).c_str(), X_OK) != 0) return "needs the CNI plugins";
  }
  return nullptr;
}

inline std::string Run(std::vector<std::string> argv) {
  sys::SpawnOptions options;
  options.argv = std::move(argv);
  options.env = sys::MinimalEnvironment();
  auto result = sys::RunCommand(options, "", 4 << 20, Soon());
  return result.ok() ? result->out + result->err : result.status().ToString();
}

// What differs from one time to the next, and is nobody's choice, is taken out.
inline std::string Normal(std::string text) {
  static const std::pair<std::regex, const char*> rules[] = {
      {std::regex("veth[0-9a-f]{8}"), "VETH"},
      {std::regex("bridge_id [^ ]+"), "bridge_id ID"},
      {std::regex("designated_(root|bridge) [^ ]+"), "designated ID"},
      {std::regex("(([0-9a-f]{2}:){5})[0-9a-f]{2}"), "MAC"},
      {std::regex("(^|\n)[0-9]+: "), "$1"},
      {std::regex("@if[0-9]+"), "@if"},
      {std::regex("if[0-9]+@"), "if@"},
      {std::regex("fe80::[0-9a-f:]+/64"), "fe80::LL/64"},
      {std::regex("(tentative|noprefixroute) "), ""},
      {std::regex("_timer +[0-9.]+"), "_timer T"},
      {std::regex("link-netns(id)? [^ ]+"), "link-netns X"},
      {std::regex("topology_change_detected [0-9]"), "topology_change_detected X"},
      {std::regex("topology_change [0-9]"), "topology_change X"},
      {std::regex("state (forwarding|learning|listening|disabled) priority"), "state S priority"},
  };
  for (const auto& [pattern, by] : rules) text = std::regex_replace(text, pattern, by);
  return text;
}

struct BuiltinCase {
  std::string name;
  std::string bridge;   // members of the bridge plugin, without its ipam
  std::string ipam;     // members of its ipam, without dataDir
  std::string chained;  // further plugins, each with a comma before it
  std::map<std::string, std::string> capabilities;
  std::string version = "1.0.0";
  std::string error;  // of those that fail, in both
};
inline void PrintTo(const BuiltinCase& one, std::ostream* out) { *out << one.name; }

// One node with the pods that one of the two makes.
class Side {
 public:
  Side(bool builtin, const BuiltinCase& test) : builtin_(builtin) {
    auto config =
        ParseNetworkConfig(R"({"cniVersion":")" + test.version + R"(","name":"same","plugins":[{"type":"bridge",
        "bridge":"dvtsame0","capabilities":{"mac":true,"ips":true,"ipRanges":true})" +
                           test.bridge + R"(,"ipam":{"type":"host-local","dataDir":")" + leases() + "\"" + test.ipam +
                           "}}" + test.chained + "]}");
    EXPECT_TRUE(config.ok()) << config.status().ToString();
    config_ = *config;
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;
  ~Side() {
    for (const PluginContext& pod : pods_) EXPECT_TRUE(sys::Unpin(pod.netns_path).ok());
  }

  [[nodiscard]] std::string leases() const { return dir_.Join("ipam"); }
  [[nodiscard]] const NetworkConfig& config() const { return config_; }
  void TakeTurns(bool builtin) { builtin_ = builtin; }

  PluginContext NewPod(std::map<std::string, std::string> capabilities) {
    PluginContext pod;
    pod.bin_dirs = {kPluginDir};
    pod.container_id = "pod" + std::to_string(pods_.size());
    pod.netns_path = dir_.Join("ns" + std::to_string(pods_.size()));
    pod.interface = "eth0";
    pod.args = "IgnoreUnknown=1";
    pod.capability_args = std::move(capabilities);
    Status made = sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, pod.netns_path}}, HardenNamespace);
    EXPECT_TRUE(made.ok()) << made.ToString();
    pods_.push_back(pod);
    return pod;
  }

  std::string Add(const PluginContext& pod) {
    if (builtin_) {
      Status can = BuiltinNetwork::Can(config_, pod);
      EXPECT_TRUE(can.ok()) << can.ToString();
    }
    auto result = builtin_ ? network_.Add(config_, pod, Soon()) : AddNetwork(config_, pod, Soon());
    return result.ok() ? *result : "ERROR " + result.status().ToString();
  }
  Status Del(const PluginContext& pod, const std::string& result) {
    return builtin_ ? network_.Del(config_, pod, result) : DelNetwork(config_, pod, result, Soon());
  }

  // Everything that can be seen from inside of a namespace.
  static std::string Visible() {
    std::string seen;
    for (const std::vector<std::string>& argv : std::vector<std::vector<std::string>>{{"ip", "-d", "link"},
                                                                                      {"ip", "-4", "address"},
                                                                                      {"ip", "-6", "address"},
                                                                                      {"ip", "route"},
                                                                                      {"ip", "-6", "route"}}) {
      seen += "--- " + Join(argv, " ") + "\n" + Run(argv);
    }
    seen += "--- sysctl\n";
    for (const char* link : {"dvtsame0", "eth0"}) {
      for (const char* name :
           {"ipv4/conf/LINK/arp_notify", "ipv4/conf/LINK/route_localnet", "ipv6/conf/LINK/accept_ra",
            "ipv6/conf/LINK/accept_dad", "ipv6/conf/LINK/disable_ipv6", "ipv4/conf/LINK/rp_filter"}) {
        std::string path = "/proc/sys/net/" + std::regex_replace(std::string(name), std::regex("LINK"), link);
        seen += path + " " + sys::ReadFile(path, 64).value_or("none\n");
      }
    }
    for (const char* path : {"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding",
                             "/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv6/conf/lo/disable_ipv6"}) {
      seen += std::string(path) + " " + sys::ReadFile(path, 64).value_or("none\n");
    }
    return seen;
  }

  std::string Leases() const {
    std::map<std::string, std::string> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(leases(), error)) {
      if (!entry.is_regular_file()) continue;
      const auto mode = static_cast<unsigned>(entry.status().permissions()) & 07777u;
      files[entry.path().string().substr(leases().size())] =
          fmt::format("{:o} {}", mode, Printable(sys::ReadFile(entry.path().string(), 4096).value_or("unreadable")));
    }
    std::string text = "--- leases\n";
    for (const auto& [name, content] : files) text += name + " " + content + "\n";
    return text;
  }

  // The kernel tells a bridge's own state a moment after its last port has come or gone.
  static void AwaitBridge() {
    for (Deadline end = Soon(); !end.expired(); ::poll(nullptr, 0, 5)) {
      const std::string link = Run({"ip", "link", "show", "dvtsame0"});
      const bool told = link.find("NO-CARRIER") != std::string::npos
                            ? link.find("state DOWN") != std::string::npos
                            : link.find("LOWER_UP") != std::string::npos && link.find("state UP") != std::string::npos;
      if (told || link.find("does not exist") != std::string::npos) return;
    }
    ADD_FAILURE() << "the bridge does not settle";
  }

  std::string State() {
    network_.Settle();
    AwaitBridge();
    std::string text = "=== node\n" + Visible() + Leases();
    for (const PluginContext& pod : pods_) {
      text += "=== " + pod.container_id + "\n";
      Status ran = sys::RunInNamespace(pod.netns_path, sys::NamespaceKind::kNet, [&] {
        text += Visible();
        return Status();
      });
      EXPECT_TRUE(ran.ok());
    }
    std::string normal = Normal(text);
    // The namespaces' names hold a random part.
    return std::regex_replace(normal, std::regex(dir_.path()), "DIR");
  }
  std::string NormalResult(const std::string& result) {
    return std::regex_replace(Normal(result), std::regex(dir_.path()), "DIR");
  }

 private:
  PrivateNode node_;
  TempDir dir_;
  bool builtin_;
  NetworkConfig config_;
  BuiltinNetwork network_;
  std::vector<PluginContext> pods_;
};

}  // namespace davit::network
