#include "container/seccomp_default.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdint>
#include <set>
#include <utility>

#include "container/seccomp.h"
#include "oci/json.h"

namespace davit::container {
namespace {

namespace json = boost::json;

constexpr std::string_view kAdmin = "CAP_SYS_ADMIN";

struct Guarded {
  std::string_view name;
  std::array<std::string_view, 2> capabilities;  // either is enough; empty: nobody
};

constexpr std::array kGuarded = {
    // Keys of the kernel have no namespace.
    Guarded{"add_key", {}},
    Guarded{"keyctl", {}},
    Guarded{"request_key", {}},
    // Requests in a ring pass by every filter of system calls.
    Guarded{"io_uring_enter", {}},
    Guarded{"io_uring_register", {}},
    Guarded{"io_uring_setup", {}},
    // Stops the kernel in the middle of a copy, for as long as one likes.
    Guarded{"userfaultfd", {}},
    Guarded{"kexec_file_load", {}},
    Guarded{"kexec_load", {}},
    Guarded{"bpf", {kAdmin, "CAP_BPF"}},
    Guarded{"perf_event_open", {kAdmin, "CAP_PERFMON"}},
    Guarded{"syslog", {kAdmin, "CAP_SYSLOG"}},
    Guarded{"reboot", {"CAP_SYS_BOOT"}},
    // Namespaces, and with one of users the rest without any capability.
    Guarded{"clone3", {kAdmin}},
    Guarded{"setns", {kAdmin}},
    Guarded{"unshare", {kAdmin}},
    Guarded{"fsconfig", {kAdmin}},
    Guarded{"fsmount", {kAdmin}},
    Guarded{"fsopen", {kAdmin}},
    Guarded{"fspick", {kAdmin}},
    Guarded{"mount", {kAdmin}},
    Guarded{"mount_setattr", {kAdmin}},
    Guarded{"move_mount", {kAdmin}},
    Guarded{"open_tree", {kAdmin}},
    Guarded{"pivot_root", {kAdmin}},
    Guarded{"umount", {kAdmin}},
    Guarded{"umount2", {kAdmin}},
    Guarded{"fanotify_init", {kAdmin}},
    Guarded{"lookup_dcookie", {kAdmin}},
    Guarded{"quotactl", {kAdmin}},
    Guarded{"quotactl_fd", {kAdmin}},
};

// Families of sockets by the upper bits of their numbers: all that there are but AF_ALG (38, the kernel's ciphers)
// and AF_VSOCK (40, the hypervisor, which no namespace keeps away). The masks leave out the upper half of the
// register, which the kernel does not look at: a plain "not 38" would be passed by 2^32 + 38.
struct Families {
  uint64_t mask;
  uint64_t value;
};
constexpr uint64_t kNetlink = 16;
constexpr std::array<Families, 12> kFamilies = {{{0xfffffff0, 0},
                                                 {0xffffffff, kNetlink},
                                                 {0xffffffff, 17},
                                                 {0xfffffffe, 18},
                                                 {0xfffffffc, 20},
                                                 {0xfffffff8, 24},
                                                 {0xfffffffc, 32},
                                                 {0xfffffffe, 36},
                                                 {0xffffffff, 39},
                                                 {0xffffffff, 41},
                                                 {0xfffffffe, 42},
                                                 {0xfffffffe, 44}}};

// Every flag of clone(2) that makes a namespace.
constexpr uint64_t kNamespaceFlags = 0x7e020000;

class Tightening {
 public:
  Tightening(const std::vector<std::string>& capabilities, std::string_view architecture)
      : capabilities_(capabilities), architecture_(architecture) {}

  json::array Rules(const json::array& rules) {
    for (const json::value& rule : rules) Add(rule.as_object());
    // glibc takes this errno as "an old kernel" and uses clone(2), whose flags can be looked at.
    bool clone3 = refused_.erase("clone3") != 0;
    json::array names;
    for (const std::string& name : refused_) names.emplace_back(name);
    if (!names.empty()) out_.push_back(Rule(std::move(names), EPERM));
    if (clone3) out_.push_back(Rule({"clone3"}, ENOSYS));
    if (clone_) out_.push_back(Allow("clone", {Masked(architecture_ == "s390x" ? 1 : 0, kNamespaceFlags, 0)}));
    if (socket_) AddSockets();
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool Holds(std::string_view capability) const {
    return std::find(capabilities_.begin(), capabilities_.end(), capability) != capabilities_.end();
  }

  [[nodiscard]] bool MayCall(std::string_view name) const {
    const auto* found =
        std::find_if(kGuarded.begin(), kGuarded.end(), [&](const Guarded& guarded) { return guarded.name == name; });
    if (found == kGuarded.end()) return true;
    return std::any_of(found->capabilities.begin(), found->capabilities.end(),
                       [&](std::string_view capability) { return !capability.empty() && Holds(capability); });
  }

  // A rule of the profile without the names that are decided here.
  void Add(const json::object& rule) {
    bool allows = rule.at("action") == "SCMP_ACT_ALLOW";
    bool conditional = rule.contains("args");
    json::array names;
    for (const json::value& value : rule.at("names").as_array()) {
      const std::string name(value.as_string());
      if (!MayCall(name)) {
        refused_.insert(name);
      } else if (allows && name == "socket") {
        socket_ = true;
      } else if (allows && name == "clone" && !conditional && !Holds(kAdmin)) {
        clone_ = true;
      } else {
        names.push_back(value);
      }
    }
    if (names.empty()) return;
    json::object kept = rule;
    kept["names"] = std::move(names);
    out_.push_back(std::move(kept));
  }

  void AddSockets() {
    constexpr int kAudit = 9;  // NETLINK_AUDIT: without its capability the profile has an error for it
    for (const Families& families : kFamilies) {
      json::array arguments = {Masked(0, families.mask, families.value)};
      if (families.value == kNetlink && !Holds("CAP_AUDIT_WRITE")) {
        arguments.push_back({{"index", 2}, {"value", kAudit}, {"op", "SCMP_CMP_NE"}});
      }
      out_.push_back(Allow("socket", std::move(arguments)));
    }
  }

  static json::object Rule(json::array names, int error) {
    return {{"names", std::move(names)}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", error}};
  }
  static json::object Allow(std::string_view name, json::array arguments) {
    return {{"names", json::array{json::string_view(name.data(), name.size())}},
            {"action", "SCMP_ACT_ALLOW"},
            {"args", std::move(arguments)}};
  }
  static json::object Masked(int index, uint64_t mask, uint64_t value) {
    return {{"index", index}, {"value", mask}, {"valueTwo", value}, {"op", "SCMP_CMP_MASKED_EQ"}};
  }

  const std::vector<std::string>& capabilities_;
  std::string_view architecture_;
  json::array out_;
  std::set<std::string> refused_;
  bool clone_ = false;
  bool socket_ = false;
};

}  // namespace

Result<std::string> TightenSeccompProfile(const std::string& rendered, const std::vector<std::string>& capabilities,
                                          std::string_view architecture) {
  ASSIGN_OR_RETURN(json::value parsed, oci::ParseJson(rendered, kMaxSeccompProfile));
  json::object& profile = parsed.as_object();
  json::value* rules = profile.if_contains("syscalls");
  if (rules == nullptr || profile.at("defaultAction") == "SCMP_ACT_ALLOW") return rendered;
  *rules = Tightening(capabilities, architecture).Rules(rules->as_array());
  return json::serialize(profile);
}

}  // namespace davit::container
