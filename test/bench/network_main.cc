// davit-network-bench: a pod's network made and taken away by the plugins and by davitd itself, in turn, from the same
// configuration, in a network namespace of its own. Prints medians and the least; asserts nothing. Needs root and the
// plugins.
//
//   davit-network-bench [ROUNDS [PORTS [BYSTANDERS]]]
//
// BYSTANDERS: host ports that the node has already, of other pods.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "network/builtin.h"
#include "network/nat_table.h"
#include "network/netns.h"
#include "sys/namespaces.h"

namespace {

using davit::Deadline;
using davit::Result;
using davit::Status;
namespace network = davit::network;
using Clock = std::chrono::steady_clock;

struct Times {
  std::vector<double> add;
  std::vector<double> del;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double Least(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}

double Milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::string Ports(int count) {
  std::string ports;
  for (int i = 0; i < count; ++i) {
    ports +=
        fmt::format(R"({}{{"hostPort":{},"containerPort":{},"protocol":"tcp"}})", i > 0 ? "," : "", 20000 + i, 80 + i);
  }
  return "[" + ports + "]";
}

Status Round(network::BuiltinNetwork& made, bool builtin, const network::NetworkConfig& config,
             const network::PluginContext& pod, Times& times) {
  davit::sys::PinRequest pin{davit::sys::NamespaceKind::kNet, pod.netns_path};
  RETURN_IF_ERROR(davit::sys::CreatePinnedNamespaces({pin}, network::HardenNamespace));
  const Deadline deadline = Deadline::After(std::chrono::seconds(60));
  Clock::time_point begin = Clock::now();
  Result<std::string> result = builtin ? made.Add(config, pod, deadline) : network::AddNetwork(config, pod, deadline);
  times.add.push_back(Milliseconds(begin));
  RETURN_IF_ERROR(result.status());
  begin = Clock::now();
  RETURN_IF_ERROR(builtin ? made.Del(config, pod, *result) : network::DelNetwork(config, pod, *result, deadline));
  times.del.push_back(Milliseconds(begin));
  return davit::sys::Unpin(pod.netns_path);
}

Status AddBystanders(int count) {
  if (count == 0) return {};
  network::NatEntries entries;
  for (int i = 0; i < count; ++i) {
    network::Forward forward;
    forward.host_port = 1 + i % 19999;
    forward.protocol = i < 19999 ? network::Protocol::kUdp : network::Protocol::kTcp;
    forward.pod = *network::Address::Parse(fmt::format("10.77.{}.{}", i / 250, 2 + i % 250));
    forward.pod_port = 80;
    forward.snat = *network::Prefix::Parse("10.77.0.0/16");
    entries.forwards.push_back(forward);
  }
  ASSIGN_OR_RETURN(network::NatTable table, network::NatTable::Open());
  return table.Add(entries);
}

Status Measure(int rounds, int ports, int bystanders) {
  char directory[] = "/tmp/davit-network-bench-XXXXXX";
  if (::mkdtemp(directory) == nullptr || ::unshare(CLONE_NEWNET) != 0) return davit::ErrnoError(errno, "begin");
  RETURN_IF_ERROR(davit::sys::BringUpLoopback());
  RETURN_IF_ERROR(AddBystanders(bystanders));
  network::BuiltinNetwork made;
  Times times[2];
  for (int i = 0; i < rounds; ++i) {
    for (bool builtin : {false, true}) {
      const std::string name = builtin ? "builtin" : "plugin";
      std::string text = fmt::format(
          R"({{"cniVersion":"1.0.0","name":"{}","plugins":[{{"type":"bridge","bridge":"dvtb-{}","isGateway":true,)"
          R"("ipMasq":true,"hairpinMode":true,"ipam":{{"type":"host-local","dataDir":"{}/ipam",)"
          R"("ranges":[[{{"subnet":"10.{}.0.0/16"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}})",
          name, name, directory, builtin ? 214 : 215);
      if (ports > 0) text += R"(,{"type":"portmap","capabilities":{"portMappings":true}})";
      ASSIGN_OR_RETURN(network::NetworkConfig config, network::ParseNetworkConfig(text + "]}"));
      network::PluginContext pod;
      pod.bin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
      pod.container_id = fmt::format("{}{}", name, i);
      pod.netns_path = fmt::format("{}/ns", directory);
      pod.interface = "eth0";
      pod.args = "IgnoreUnknown=1";
      if (ports > 0) pod.capability_args["portMappings"] = Ports(ports);
      RETURN_IF_ERROR(Round(made, builtin, config, pod, times[builtin ? 1 : 0]));
    }
  }
  std::filesystem::remove_all(directory);
  const double add[2] = {Median(times[0].add), Median(times[1].add)};
  const double del[2] = {Median(times[0].del), Median(times[1].del)};
  fmt::print("{} rounds, {} ports, {} ports of others; medians (least):\n", rounds, ports, bystanders);
  fmt::print("  ADD  plugins {:.2f} ({:.2f}) ms, built in {:.2f} ({:.2f}) ms: {:.1f} times\n", add[0],
             Least(times[0].add), add[1], Least(times[1].add), add[0] / add[1]);
  fmt::print("  DEL  plugins {:.2f} ({:.2f}) ms, built in {:.2f} ({:.2f}) ms: {:.1f} times\n", del[0],
             Least(times[0].del), del[1], Least(times[1].del), del[0] / del[1]);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  const int ports = argc > 2 ? std::atoi(argv[2]) : 0;
  const int bystanders = argc > 3 ? std::atoi(argv[3]) : 0;
  Status measured = Measure(rounds, ports, bystanders);
  if (measured.ok()) return 0;
  fmt::print(stderr, "davit-network-bench: {}\n", measured.ToString());
  return 1;
}
