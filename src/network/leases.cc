#include "network/leases.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>

#include "base/fault.h"
#include "base/strings.h"

namespace davit::network {
namespace {

constexpr size_t kMaxLeases = 1u << 20;
constexpr size_t kMaxSets = 16;
constexpr size_t kMaxLeaseBytes = 4096;
constexpr char kDefaultDirectory[] = "/var/lib/cni/networks";

// 127.0.0.1 after 127.0.0.0: the last but one of an IPv4 subnet, the last of an IPv6 one, as the plugin counts.
Address LastHost(const Prefix& subnet) {
  Address last = subnet.Last();
  if (!last.v6) last.bytes[3] = static_cast<uint8_t>(last.bytes[3] - 1);
  return last;
}

Result<Address> ReadAddress(const oci::JsonNode& node) {
  ASSIGN_OR_RETURN(std::string text, node.String());
  std::optional<Address> address = Address::Parse(text);
  if (!address) return node.Error("\"" + Printable(text) + "\" is not an address");
  return *address;
}

Result<LeaseRange> ReadRange(const oci::JsonNode& node) {
  ASSIGN_OR_RETURN(auto members, node.Members(16));
  for (const auto& member : members) {
    const std::string& key = member.first;
    const bool known = key == "subnet" || key == "rangeStart" || key == "rangeEnd" || key == "gateway";
    if (!known) return node.Error("member " + Printable(key) + " is not known");
  }
  LeaseRange range;
  ASSIGN_OR_RETURN(std::string text, node.Key("subnet").String());
  ASSIGN_OR_RETURN(range.subnet, Prefix::Parse(text));
  if (text.find('/') == std::string::npos) return node.Error("its subnet has no length");
  std::optional<Address> base = Address::Parse(text.substr(0, text.find('/')));
  if (!base || *base != range.subnet.address) return node.Error("its subnet has host bits");
  if (range.subnet.length > range.subnet.address.bits() - 2) return node.Error("its subnet is too small");
  range.first = range.subnet.address.Next();
  range.gateway = range.first;
  range.last = LastHost(range.subnet);
  for (const auto& [key, address] : {std::pair("rangeStart", &range.first), std::pair("rangeEnd", &range.last)}) {
    if (!node.Key(key).present()) continue;
    ASSIGN_OR_RETURN(*address, ReadAddress(node.Key(key)));
    if (!range.subnet.Contains(*address)) return node.Key(key).Error("is outside of the subnet");
  }
  if (node.Key("gateway").present()) {
    ASSIGN_OR_RETURN(range.gateway, ReadAddress(node.Key("gateway")));
  }
  if (range.gateway.v6 != range.first.v6 || range.last < range.first) return node.Error("is no range");
  return range;
}

bool Overlap(const LeaseRange& a, const LeaseRange& b) {
  return a.first.v6 == b.first.v6 && !(a.last < b.first) && !(b.last < a.first);
}

Result<LeaseRangeSet> ReadSet(const oci::JsonNode& node) {
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> nodes, node.Elements(64));
  if (nodes.empty()) return node.Error("is an empty set of ranges");
  LeaseRangeSet set;
  for (const oci::JsonNode& entry : nodes) {
    ASSIGN_OR_RETURN(LeaseRange range, ReadRange(entry));
    for (const LeaseRange& other : set) {
      if (other.first.v6 != range.first.v6 || Overlap(other, range))
        return entry.Error("overlaps, or is of two families");
    }
    set.push_back(range);
  }
  return set;
}

// The lock file is there for as long as the directory, and its flock is held for as long as this lives.
Result<sys::UniqueFd> Lock(const std::string& directory, bool make) {
  if (make) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) return ErrnoError(error.value(), "make " + directory);
  }
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(directory + "/lock", O_RDONLY | O_CREAT, 0750));
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return ErrnoError(errno, "lock " + directory + "/lock");
  }
  return fd;
}

std::string Content(const std::string& id, const std::string& interface) { return id + "\r\n" + interface; }

// True: it is ours now; false: somebody has it.
Result<bool> Reserve(const std::string& directory, const Address& address, const std::string& content) {
  const std::string path = directory + "/" + address.ToString();
  if (::access(path.c_str(), F_OK) == 0) return false;
  // Linked with its content: a lease that was cut short would belong to nobody for ever.
  sys::UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644));
  if (fd.valid()) {
    RETURN_IF_ERROR(sys::WriteAll(fd.get(), content));
    const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
    if (errno == EEXIST) return false;
    return ErrnoError(errno, "write lease " + path);
  }
  fd.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.valid()) return errno == EEXIST ? Result<bool>(false) : ErrnoError(errno, "write lease " + path);
  RETURN_IF_ERROR(sys::WriteAll(fd.get(), content));
  return true;
}

Status NoteLast(const std::string& directory, size_t set, const Address& address) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(directory + "/last_reserved_ip." + std::to_string(set),
                                               O_WRONLY | O_CREAT | O_TRUNC, 0644));
  return sys::WriteAll(fd.get(), address.ToString());
}

std::string SetText(const LeaseRangeSet& set) {
  std::vector<std::string> parts;
  for (const LeaseRange& range : set) parts.push_back(range.first.ToString() + "-" + range.last.ToString());
  return Join(parts, ",");
}

Result<Lease> TakeOne(const LeaseConfig& config, size_t index, const std::optional<Address>& wanted,
                      const std::string& content) {
  const LeaseRangeSet& set = config.sets[index];
  if (wanted) {
    for (const LeaseRange& range : set) {
      if (!range.Contains(*wanted)) continue;
      if (*wanted == range.gateway)
        return FailedPrecondition("address " + wanted->ToString() + " is the gateway of its subnet");
      ASSIGN_OR_RETURN(bool ours, Reserve(config.directory, *wanted, content));
      if (!ours) {
        return FailedPrecondition("requested IP address " + wanted->ToString() + " is not available in range set " +
                                  SetText(set));
      }
      RETURN_IF_ERROR(NoteLast(config.directory, index, *wanted));
      return Lease{*wanted, range.subnet, range.gateway};
    }
  }
  std::optional<Address> last;
  auto noted = sys::ReadFile(config.directory + "/last_reserved_ip." + std::to_string(index), kMaxLeaseBytes);
  if (noted.ok()) last = Address::Parse(*noted);
  std::optional<Lease> taken;
  Status failed;
  EachCandidate(set, last, [&](const Lease& candidate) {
    Result<bool> ours = Reserve(config.directory, candidate.address, content);
    if (!ours.ok()) failed = ours.status();
    if (ours.ok() && *ours) taken = candidate;
    return ours.ok() && !taken;
  });
  RETURN_IF_ERROR(failed);
  if (!taken) return ResourceExhausted("no IP addresses available in range set: " + SetText(set));
  RETURN_IF_ERROR(NoteLast(config.directory, index, taken->address));
  return *taken;
}

bool Holds(const std::string& path, const std::string& id, const std::string& interface) {
  auto text = sys::ReadFile(path, kMaxLeaseBytes);
  if (!text.ok()) return false;
  const std::string_view held = Trim(*text);
  return held == Content(id, interface) || held == id;  // the latter by plugins of long ago
}

}  // namespace

bool LeaseRange::Contains(const Address& address) const {
  return address.v6 == first.v6 && subnet.Contains(address) && !(address < first) && !(last < address);
}

Result<LeaseConfig> ReadLeaseConfig(const oci::JsonNode& ipam, const std::string& network, const oci::JsonNode& ranges,
                                    const oci::JsonNode& ips) {
  LeaseConfig config;
  ASSIGN_OR_RETURN(auto members, ipam.Members(64));
  static const std::set<std::string> known = {"type",     "ranges",  "subnet", "rangeStart",
                                              "rangeEnd", "gateway", "routes", "dataDir"};
  for (const auto& member : members) {
    if (known.count(member.first) == 0) return ipam.Error("member " + Printable(member.first) + " is not known");
  }
  ASSIGN_OR_RETURN(std::string data, ipam.Key("dataDir").StringOr(""));
  if (data.empty()) data = kDefaultDirectory;
  if (data.front() != '/') return ipam.Key("dataDir").Error("is no absolute path");
  config.directory = data + "/" + network;
  for (const oci::JsonNode& list : {ranges, ipam.Key("ranges")}) {
    ASSIGN_OR_RETURN(std::vector<oci::JsonNode> sets, list.Elements(kMaxSets));
    for (const oci::JsonNode& node : sets) {
      ASSIGN_OR_RETURN(LeaseRangeSet set, ReadSet(node));
      config.sets.push_back(std::move(set));
    }
  }
  if (ipam.Key("subnet").present()) {
    // The old form: one range in the object itself, before the others of the configuration.
    boost::json::object range;
    for (const char* key : {"subnet", "rangeStart", "rangeEnd", "gateway"}) {
      if (ipam.Key(key).present()) range[key] = *ipam.Key(key).value();
    }
    const boost::json::value value = range;
    ASSIGN_OR_RETURN(LeaseRange single, ReadRange(oci::JsonNode(value, ipam.path())));
    if (ranges.present()) return ipam.Error("has a subnet and ranges of the request");
    config.sets.insert(config.sets.begin(), {single});
  }
  if (config.sets.empty()) return ipam.Error("has no ranges");
  for (size_t i = 0; i < config.sets.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      for (const LeaseRange& a : config.sets[i]) {
        for (const LeaseRange& b : config.sets[j]) {
          if (Overlap(a, b)) return ipam.Error("has sets that overlap");
        }
      }
    }
  }
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> routes, ipam.Key("routes").Elements(256));
  for (const oci::JsonNode& node : routes) {
    LeaseRoute route;
    ASSIGN_OR_RETURN(auto keys, node.Keys(8));
    for (const std::string& key : keys) {
      if (key != "dst" && key != "gw") return node.Error("member " + Printable(key) + " is not known");
    }
    ASSIGN_OR_RETURN(std::string text, node.Key("dst").String());
    ASSIGN_OR_RETURN(route.destination, Prefix::Parse(text));
    // Host bits would be shown in the result as they are.
    if (route.destination.ToString() != text) return node.Key("dst").Error("is not written as a subnet");
    route.text = text;
    if (node.Key("gw").present()) {
      ASSIGN_OR_RETURN(route.gateway, ReadAddress(node.Key("gw")));
      if (route.gateway->v6 != route.destination.address.v6) return node.Key("gw").Error("is of another family");
    }
    config.routes.push_back(std::move(route));
  }
  ASSIGN_OR_RETURN(std::vector<std::string> wanted, ips.Strings(16));
  for (const std::string& text : wanted) {
    std::optional<Address> address = Address::Parse(text.substr(0, text.find('/')));
    if (!address) return ips.Error("\"" + Printable(text) + "\" is not an address");
    config.wanted.push_back(*address);
  }
  return config;
}

void EachCandidate(const LeaseRangeSet& set, const std::optional<Address>& last,
                   const std::function<bool(const Lease&)>& take) {
  size_t range = 0;
  Address at = set.front().first;
  bool step = false;  // `at` has had its turn
  for (size_t i = 0; last && i < set.size(); ++i) {
    if (!set[i].Contains(*last)) continue;
    range = i;
    at = *last;
    step = true;
    break;
  }
  std::optional<Address> begin;
  for (;;) {
    if (step && at == set[range].last) {
      range = (range + 1) % set.size();
      at = set[range].first;
    } else if (step) {
      at = at.Next();
    }
    step = true;
    if (begin && at == *begin) return;
    if (!begin) begin = at;
    if (at == set[range].gateway) continue;
    if (!take({at, set[range].subnet, set[range].gateway})) return;
  }
}

Result<std::vector<Lease>> TakeLeases(const LeaseConfig& config, const std::string& id, const std::string& interface) {
  ASSIGN_OR_RETURN([[maybe_unused]] sys::UniqueFd lock, Lock(config.directory, /*make=*/true));
  const std::string content = Content(id, interface);
  std::vector<Address> wanted = config.wanted;
  std::vector<Lease> taken;
  Status failed;
  for (size_t i = 0; failed.ok() && i < config.sets.size(); ++i) {
    std::optional<Address> one;
    for (size_t w = 0; !one && w < wanted.size(); ++w) {
      const bool inside = std::any_of(config.sets[i].begin(), config.sets[i].end(),
                                      [&](const LeaseRange& range) { return range.Contains(wanted[w]); });
      if (!inside) continue;
      one = wanted[w];
      wanted.erase(wanted.begin() + static_cast<ptrdiff_t>(w));
    }
    Result<Lease> lease = TakeOne(config, i, one, content);
    if (lease.ok()) {
      taken.push_back(*lease);
      FaultPoint("pod.run.builtin.lease");
    } else {
      failed = lease.status();
    }
  }
  if (failed.ok() && !wanted.empty()) {
    failed = FailedPrecondition("failed to allocate all requested IPs: " + wanted.front().ToString());
  }
  if (failed.ok()) return taken;
  for (const Lease& lease : taken) ::unlink((config.directory + "/" + lease.address.ToString()).c_str());
  return failed;
}

Result<std::vector<Address>> FindLeases(const LeaseConfig& config, const std::string& id,
                                        const std::string& interface) {
  std::vector<Address> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(config.directory.c_str()), ::closedir);
  if (!dir) return errno == ENOENT ? Result(found) : ErrnoError(errno, "read " + config.directory);
  for (size_t seen = 0; seen < kMaxLeases; ++seen) {
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    const std::optional<Address> address = Address::Parse(entry->d_name);
    if (address && Holds(config.directory + "/" + entry->d_name, id, interface)) found.push_back(*address);
  }
  return found;
}

Status ReleaseLeases(const LeaseConfig& config, const std::string& id, const std::string& interface,
                     const std::vector<Address>& known) {
  if (::access(config.directory.c_str(), F_OK) != 0) return {};
  ASSIGN_OR_RETURN([[maybe_unused]] sys::UniqueFd lock, Lock(config.directory, /*make=*/false));
  std::vector<Address> ours = known;
  if (ours.empty()) {
    ASSIGN_OR_RETURN(ours, FindLeases(config, id, interface));
  }
  for (const Address& address : ours) {
    const std::string path = config.directory + "/" + address.ToString();
    if (!Holds(path, id, interface)) continue;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, "delete lease " + path);
  }
  return {};
}

}  // namespace davit::network
