#include "network/named_networks.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "network/network_file.h"
#include "network/node_links.h"
#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::network {
namespace {

constexpr std::string_view kSuffix = ".conflist";
// Any would do; this one is the same on every node and at every start, made or not.
constexpr char kDefaultId[] = "d14e490920faeb31a0e201e936e3fea71b4f60dfcfcccfe9360bd46334a8b068";
constexpr char kDefaultInterface[] = "davit0";
constexpr char kDefaultSubnet[] = "10.88.0.0/16";
// Names that clients give to what is no network of ours, or that mean the default one.
constexpr std::string_view kReserved[] = {"host",      "none",        "default", "bridge", "podman",
                                          "container", "slirp4netns", "pasta",   "private"};

NamedNetwork UnmadeDefault() {
  NamedNetwork network;
  network.id = kDefaultId;
  network.name = kDefaultNetwork;
  network.interface = kDefaultInterface;
  network.dns = false;  // as people know it of Docker and Podman
  network.subnets = {{kDefaultSubnet, "10.88.0.1", "", ""}};
  return network;
}

Result<std::string> ReadFile(const std::string& path) {
  // O_NONBLOCK: a FIFO of such a name must not hold us up.
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return ErrnoError(errno, "stat " + path);
  if (!S_ISREG(st.st_mode)) return InvalidArgument("not a regular file");
  return sys::ReadAll(fd.get(), 1u << 20);
}

bool Overlaps(const Prefix& prefix, const std::vector<Prefix>& used) {
  return std::any_of(used.begin(), used.end(), [&](const Prefix& other) { return prefix.Overlaps(other); });
}

// The next /24 from 10.89.0.0 upward, the last one is 10.255.255.0.
Result<Prefix> NextFree(const std::vector<Prefix>& used) {
  for (int second = 89; second <= 255; ++second) {
    for (int third = 0; third <= 255; ++third) {
      Address address;
      address.bytes = {10, static_cast<uint8_t>(second), static_cast<uint8_t>(third)};
      Prefix prefix = Prefix::Of(address, 24);
      if (!Overlaps(prefix, used)) return prefix;
    }
  }
  return ResourceExhausted("no subnet is free between 10.89.0.0/24 and 10.255.255.0/24");
}

// A unique local one (RFC 4193): 40 random bits make it nobody else's.
Result<Prefix> RandomUla(const std::vector<Prefix>& used) {
  for (int tries = 0; tries < 16; ++tries) {
    Address address;
    address.v6 = true;
    address.bytes[0] = 0xfd;
    if (::getrandom(&address.bytes[1], 5, 0) != 5) return ErrnoError(errno, "getrandom");
    Prefix prefix = Prefix::Of(address, 64);
    if (!Overlaps(prefix, used)) return prefix;
  }
  return ResourceExhausted("no IPv6 subnet is free below fd00::/8");
}

// Whether the policy of the chain FORWARD is to drop, as Docker sets it.
bool ForwardsNothing() {
  sys::SpawnOptions spawn;
  spawn.argv = {"iptables", "-w", "5", "-S", "FORWARD"};
  spawn.env = sys::MinimalEnvironment();
  Result<sys::CommandResult> rules =
      sys::RunCommand(std::move(spawn), "", 64 << 10, Deadline::After(std::chrono::seconds(10)));
  return rules.ok() && rules->out.find("-P FORWARD DROP") != std::string::npos;
}

// The plugin firewall leaves what it made for the bridge as such; the rules of pods went with them.
void DropIsolation(const std::string& bridge) {
  const std::vector<std::vector<std::string>> rules = {
      {"CNI-ISOLATION-STAGE-1", "-i", bridge, "!", "-o", bridge, "-j", "CNI-ISOLATION-STAGE-2"},
      {"CNI-ISOLATION-STAGE-2", "-o", bridge, "-j", "DROP"}};
  for (const char* program : {"iptables", "ip6tables"}) {
    for (const std::vector<std::string>& rule : rules) {
      sys::SpawnOptions spawn;
      spawn.argv = {program, "-w", "5", "-D"};
      spawn.argv.insert(spawn.argv.end(), rule.begin(), rule.end());
      const std::vector<std::string> comment = {"-m", "comment", "--comment",
                                                "CNI firewall plugin rules (ingressPolicy: same-bridge)"};
      spawn.argv.insert(spawn.argv.end() - 2, comment.begin(), comment.end());
      spawn.env = sys::MinimalEnvironment();
      // Not there, most often; a rule about a bridge that is gone matches nothing.
      IgnoreError(sys::RunCommand(std::move(spawn), "", 4096, Deadline::After(std::chrono::seconds(10))).status());
    }
  }
}

}  // namespace

NamedNetworks::NamedNetworks(NamedNetworksOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<NamedNetworks>> NamedNetworks::Open(NamedNetworksOptions options) {
  RETURN_IF_ERROR(sys::MakeDirectories(options.directory, 0700));
  auto networks = std::unique_ptr<NamedNetworks>(new NamedNetworks(std::move(options)));
  networks->Load();
  return networks;
}

std::string NamedNetworks::PathOf(const std::string& name) const {
  return options_.directory + "/" + name + std::string(kSuffix);
}

void NamedNetworks::Load() {
  NetworkList list;
  std::vector<std::string> names;
  if (DIR* dir = ::opendir(options_.directory.c_str())) {
    while (const dirent* entry = ::readdir(dir)) {
      std::string_view file = entry->d_name;
      if (file.starts_with(sys::kTemporaryPrefix)) {
        ::unlink((options_.directory + "/" + entry->d_name).c_str());
      } else if (file.ends_with(kSuffix)) {
        names.emplace_back(file.substr(0, file.size() - kSuffix.size()));
      }
    }
    ::closedir(dir);
  }
  std::sort(names.begin(), names.end());
  std::set<std::string> ids;
  for (const std::string& name : names) {
    Result<std::string> text = ReadFile(PathOf(name));
    Result<NamedNetwork> network = text.ok() ? ParseNetworkFile(*text, name) : Result<NamedNetwork>(text.status());
    if (network.ok() && !ids.insert(network->id).second) network = InvalidArgument("its id is another network's too");
    if (network.ok() && list.size() >= kMaxNetworks) network = ResourceExhausted("there are too many");
    if (!network.ok()) {
      LogWarning("network {}: its file is not used: {}", Printable(PathOf(name)), network.status().message());
      continue;
    }
    list[name] = std::make_shared<NamedNetwork>(std::move(*network));
  }
  list.try_emplace(std::string(kDefaultNetwork), std::make_shared<NamedNetwork>(UnmadeDefault()));
  Show(std::move(list));
}

void NamedNetworks::Show(NetworkList list) {
  auto fresh = std::make_shared<const NetworkList>(std::move(list));
  std::lock_guard lock(pointer_lock_);
  list_.swap(fresh);
}

std::shared_ptr<const NetworkList> NamedNetworks::List() const {
  std::lock_guard lock(pointer_lock_);
  return list_;
}

Result<NetworkPtr> NamedNetworks::Find(std::string_view text) const {
  const std::shared_ptr<const NetworkList> list = List();
  auto it = list->find(std::string(text.empty() ? kDefaultNetwork : text));
  if (it != list->end()) return it->second;
  NetworkPtr found;
  for (const auto& [name, network] : *list) {
    if (!network->id.starts_with(text)) continue;
    if (found) return InvalidArgument("network \"" + Printable(text) + "\": several ids begin so");
    found = network;
  }
  if (!found) return NotFound("there is no network \"" + Printable(text) + "\"");
  return found;
}

Result<NetworkPtr> NamedNetworks::Use(std::string_view text) {
  ASSIGN_OR_RETURN(NetworkPtr network, Find(text));
  if (!network->config.empty()) return network;
  std::lock_guard lock(making_);
  ASSIGN_OR_RETURN(network, Find(text));
  if (!network->config.empty()) return network;  // another pod was first
  NamedNetwork wanted = *network;
  wanted.subnets.clear();
  return Make(std::move(wanted));
}

Result<NetworkPtr> NamedNetworks::Create(NamedNetwork wanted) {
  std::lock_guard lock(making_);
  const std::shared_ptr<const NetworkList> list = List();
  if (wanted.name.empty()) {
    for (size_t i = 1; wanted.name.empty(); ++i) {
      std::string name = "net" + std::to_string(i);
      if (list->count(name) == 0) wanted.name = std::move(name);
    }
  }
  RETURN_IF_ERROR(ValidateNetworkName(wanted.name));
  const bool reserved = std::find(std::begin(kReserved), std::end(kReserved), wanted.name) != std::end(kReserved);
  if (reserved || list->count(wanted.name) != 0) {
    return AlreadyExists("network " + wanted.name + (reserved ? " has a meaning of its own" : " is there already"));
  }
  if (wanted.driver.empty()) wanted.driver = "bridge";
  if (wanted.driver != "bridge") {
    return InvalidArgument("driver \"" + Printable(wanted.driver) + "\" is not known, only bridge");
  }
  if (list->size() >= kMaxNetworks) return ResourceExhausted("there are " + std::to_string(list->size()) + " networks");
  wanted.id = MintId();
  wanted.interface.clear();
  return Make(std::move(wanted));
}

Result<NetworkPtr> NamedNetworks::Make(NamedNetwork network) {
  ASSIGN_OR_RETURN(NetworkOptions options, ParseNetworkOptions(network.options));
  if (!options.bridge.empty()) network.interface = options.bridge;
  RETURN_IF_ERROR(PickSubnets(network));
  RETURN_IF_ERROR(PickInterface(network));
  network.version = kNetworkFileVersion;
  network.created_at = WallNanos();
  ASSIGN_OR_RETURN(network.config, ConfigOf(network, options_.leases, ForwardsNothing()));
  ASSIGN_OR_RETURN(std::string text, NetworkFileText(network));
  RETURN_IF_ERROR(sys::WriteFileAtomic(PathOf(network.name), text, 0600, sys::Durability::kDurable)
                      .Annotate("make network " + network.name));
  auto made = std::make_shared<NamedNetwork>(std::move(network));
  NetworkList list = *List();
  list[made->name] = made;
  Show(std::move(list));
  LogInfo("network {}: made, {} on {}", made->name, made->subnets.front().subnet, made->interface);
  return NetworkPtr(made);
}

Status NamedNetworks::PickSubnets(NamedNetwork& network) const {
  ASSIGN_OR_RETURN(std::vector<Prefix> used, UsedPrefixes());
  for (const auto& [name, other] : *List()) {
    if (name == network.name) continue;
    for (const SubnetConfig& subnet : other->subnets) {
      ASSIGN_OR_RETURN(Prefix prefix, Prefix::Parse(subnet.subnet));
      used.push_back(prefix);
    }
  }
  bool has[2] = {false, false};
  for (SubnetConfig& subnet : network.subnets) {
    ASSIGN_OR_RETURN(subnet, CompleteSubnet(subnet));
    ASSIGN_OR_RETURN(Prefix prefix, Prefix::Parse(subnet.subnet));
    if (Overlaps(prefix, used)) {
      return InvalidArgument("subnet " + subnet.subnet +
                             " overlaps another network, or an address or route of the node");
    }
    bool& seen = has[prefix.address.v6 ? 1 : 0];
    if (seen) return InvalidArgument("subnets: more than one of a family");
    seen = true;
  }
  if (!has[0]) {
    ASSIGN_OR_RETURN(Prefix customary, Prefix::Parse(kDefaultSubnet));
    Result<Prefix> prefix = network.is_default() && !Overlaps(customary, used) ? customary : NextFree(used);
    RETURN_IF_ERROR(prefix.status());
    // The primary address of a pod is that of the first one.
    ASSIGN_OR_RETURN(SubnetConfig subnet, CompleteSubnet({prefix->ToString(), "", "", ""}));
    network.subnets.insert(network.subnets.begin(), subnet);
  }
  if (network.ipv6 && !has[1]) {
    ASSIGN_OR_RETURN(Prefix prefix, RandomUla(used));
    ASSIGN_OR_RETURN(SubnetConfig subnet, CompleteSubnet({prefix.ToString(), "", "", ""}));
    network.subnets.push_back(subnet);
  }
  network.ipv6 = network.ipv6 || has[1];
  return {};
}

Status NamedNetworks::PickInterface(NamedNetwork& network) const {
  ASSIGN_OR_RETURN(std::vector<std::string> names, LinkNames());
  std::set<std::string> taken(names.begin(), names.end());
  std::set<std::string> ours = {kDefaultInterface};
  for (const auto& [name, other] : *List()) {
    if (name != network.name) ours.insert(other->interface);
  }
  // One that is there already is another davitd's.
  if (network.is_default() && taken.count(network.interface) != 0) network.interface.clear();
  if (network.is_default() && !network.interface.empty()) return {};
  if (!network.interface.empty()) {
    network.keep_bridge = taken.count(network.interface) != 0;  // the administrator's own
    if (ours.count(network.interface) == 0) return {};
    return InvalidArgument("bridge " + network.interface + " is another network's");
  }
  for (size_t i = 1; i <= 2 * kMaxNetworks + taken.size(); ++i) {
    std::string name = "davit" + std::to_string(i);
    if (name.size() > kMaxLinkName) break;
    if (taken.count(name) != 0 || ours.count(name) != 0) continue;
    network.interface = std::move(name);
    return {};
  }
  return ResourceExhausted("no name is free for a bridge");
}

Status NamedNetworks::Remove(std::string_view text) {
  std::lock_guard lock(making_);
  ASSIGN_OR_RETURN(NetworkPtr network, Find(text));
  if (network->is_default()) return FailedPrecondition("network " + network->name + " is the default one");
  Result<bool> used = network->keep_bridge ? Result<bool>(false) : BridgeHasPorts(network->interface);
  if (!used.ok() && used.code() != StatusCode::kNotFound) return used.status();
  if (used.ok() && *used) {
    return FailedPrecondition("network " + network->name + ": something is a port of its bridge " + network->interface);
  }
  // No pod finds it from now on; the file goes last, so that a kill leaves it to be removed again.
  NetworkList list = *List();
  list.erase(network->name);
  Show(std::move(list));
  Status removed = network->keep_bridge ? Status() : RemoveBridge(network->interface);
  if (removed.ok()) removed = sys::RemoveTree(options_.leases + "/" + network->name);
  if (removed.ok() && network->config.find("same-bridge") != std::string::npos) DropIsolation(network->interface);
  if (removed.ok() && ::unlink(PathOf(network->name).c_str()) != 0 && errno != ENOENT) {
    removed = ErrnoError(errno, "delete " + PathOf(network->name));
  }
  if (!removed.ok()) {
    list = *List();
    list[network->name] = network;
    Show(std::move(list));
    return removed.Annotate("remove network " + network->name);
  }
  LogInfo("network {}: removed", network->name);
  return {};
}

void NamedNetworks::Sweep(const std::string& name, const std::string& bridge) {
  std::lock_guard lock(making_);
  const std::shared_ptr<const NetworkList> list = List();
  const bool known = std::any_of(list->begin(), list->end(), [&](const auto& entry) {
    return entry.first == name || entry.second->interface == bridge;
  });
  if (known || !ValidateNetworkName(name).ok() || bridge.empty()) return;
  Result<bool> used = BridgeHasPorts(bridge);
  if (used.ok() && *used) return;
  Status removed = used.ok() ? RemoveBridge(bridge) : Status();
  if (removed.ok()) removed = sys::RemoveTree(options_.leases + "/" + name);
  if (!removed.ok()) LogWarning("network {}, which is gone: {}", name, removed.message());
}

}  // namespace davit::network
