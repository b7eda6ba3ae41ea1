#include "container/seccomp_bpf.h"

#include <linux/filter.h>
#include <malloc.h>
#include <openssl/evp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/log.h"
#include "container/seccomp.h"
#include "oci/json.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr size_t kMaxFilter = BPF_MAXINSNS * sizeof(sock_filter);
constexpr size_t kMaxArguments = 6;  // of a system call

struct Release {
  void operator()(void* context) const { ::seccomp_release(context); }
};
using Context = std::unique_ptr<void, Release>;

Result<uint32_t> Action(const std::string& name, int64_t errno_value) {
  const auto data = static_cast<uint16_t>(errno_value);
  if (name == "SCMP_ACT_ALLOW") return uint32_t{SCMP_ACT_ALLOW};
  if (name == "SCMP_ACT_ERRNO") return uint32_t{SCMP_ACT_ERRNO(data)};
  if (name == "SCMP_ACT_TRACE") return uint32_t{SCMP_ACT_TRACE(data)};
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return uint32_t{SCMP_ACT_KILL};
  if (name == "SCMP_ACT_KILL_PROCESS") return uint32_t{SCMP_ACT_KILL_PROCESS};
  if (name == "SCMP_ACT_TRAP") return uint32_t{SCMP_ACT_TRAP};
  if (name == "SCMP_ACT_LOG") return uint32_t{SCMP_ACT_LOG};
  return Unimplemented("action " + name + " is left to the runtime");
}

Result<scmp_compare> Operator(const std::string& name) {
  static constexpr std::array<std::pair<std::string_view, scmp_compare>, 7> kNames = {
      {{"SCMP_CMP_NE", SCMP_CMP_NE},
       {"SCMP_CMP_LT", SCMP_CMP_LT},
       {"SCMP_CMP_LE", SCMP_CMP_LE},
       {"SCMP_CMP_EQ", SCMP_CMP_EQ},
       {"SCMP_CMP_GE", SCMP_CMP_GE},
       {"SCMP_CMP_GT", SCMP_CMP_GT},
       {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}}};
  for (const auto& [known, value] : kNames) {
    if (name == known) return value;
  }
  return Unimplemented("operator " + name + " is left to the runtime");
}

Result<uint32_t> ActionOf(const oci::JsonNode& node, std::string_view action, std::string_view errno_key) {
  ASSIGN_OR_RETURN(std::string name, node.Key(action).String());
  ASSIGN_OR_RETURN(int64_t errno_value, node.Key(errno_key).Int64Or(EPERM));
  if (errno_value < 0 || errno_value > 4095) return Unimplemented("an errno out of range is left to the runtime");
  return Action(name, errno_value);
}

Result<std::vector<scmp_arg_cmp>> Arguments(const oci::JsonNode& rule) {
  std::vector<scmp_arg_cmp> arguments;
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> items, rule.Key("args").Elements(kMaxArguments));
  for (const oci::JsonNode& item : items) {
    ASSIGN_OR_RETURN(uint64_t index, item.Key("index").Uint64());
    if (index >= kMaxArguments) return item.Error("index is not in 0..5");
    ASSIGN_OR_RETURN(uint64_t value, item.Key("value").Uint64Or(0));
    ASSIGN_OR_RETURN(uint64_t second, item.Key("valueTwo").Uint64Or(0));
    ASSIGN_OR_RETURN(std::string name, item.Key("op").String());
    ASSIGN_OR_RETURN(scmp_compare op, Operator(name));
    arguments.push_back(scmp_arg_cmp{static_cast<unsigned>(index), op, value, second});
  }
  return arguments;
}

Status AddRule(scmp_filter_ctx context, uint32_t action, int number, const std::vector<scmp_arg_cmp>& arguments) {
  std::array<int, kMaxArguments> conditions{};
  for (const scmp_arg_cmp& argument : arguments) ++conditions.at(argument.arg);
  // Several conditions on one argument cannot be one rule; as rules of their own any of them is enough. That is
  // what all runtimes do with such a profile.
  bool repeated = std::any_of(conditions.begin(), conditions.end(), [](int n) { return n > 1; });
  if (!repeated) {
    int rc =
        ::seccomp_rule_add_array(context, action, number, static_cast<unsigned>(arguments.size()), arguments.data());
    return rc == 0 ? Status() : ErrnoError(-rc, "add a rule");
  }
  for (const scmp_arg_cmp& argument : arguments) {
    int rc = ::seccomp_rule_add_array(context, action, number, 1, &argument);
    if (rc != 0) return ErrnoError(-rc, "add a rule");
  }
  return {};
}

Status AddRules(scmp_filter_ctx context, uint32_t default_action, const oci::JsonNode& profile) {
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> rules, profile.Key("syscalls").Elements());
  for (const oci::JsonNode& rule : rules) {
    ASSIGN_OR_RETURN(uint32_t action, ActionOf(rule, "action", "errnoRet"));
    if (action == default_action) continue;
    ASSIGN_OR_RETURN(std::vector<std::string> names, rule.Key("names").Strings());
    ASSIGN_OR_RETURN(std::vector<scmp_arg_cmp> arguments, Arguments(rule));
    for (const std::string& name : names) {
      int number = ::seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) continue;  // of a newer kernel, or no system call: no runtime minds
      RETURN_IF_ERROR(AddRule(context, action, number, arguments).Annotate(name));
    }
  }
  return {};
}

Status AddArchitectures(scmp_filter_ctx context, const oci::JsonNode& profile) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, profile.Key("architectures").Strings());
  for (std::string name : names) {
    constexpr std::string_view kPrefix = "SCMP_ARCH_";
    if (name.starts_with(kPrefix)) name = name.substr(kPrefix.size());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    uint32_t architecture = ::seccomp_arch_resolve_name(name.c_str());
    if (architecture == 0) return Unimplemented("architecture " + name + " is left to the runtime");
    int rc = ::seccomp_arch_add(context, architecture);
    if (rc != 0 && rc != -EEXIST) return ErrnoError(-rc, "add architecture " + name);
  }
  return {};
}

Result<std::string> Export(scmp_filter_ctx context) {
  sys::UniqueFd file(::memfd_create("davit-seccomp", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoError(errno, "memfd_create");
  int rc = ::seccomp_export_bpf(context, file.get());
  if (rc != 0) return ErrnoError(-rc, "export the filter");
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "lseek");
  return sys::ReadAll(file.get(), kMaxFilter);
}

std::string Base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                 reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

}  // namespace

Result<std::string> CompileSeccomp(std::string_view profile_json) {
  ASSIGN_OR_RETURN(boost::json::value document, oci::ParseJson(profile_json, kMaxSeccompProfile));
  oci::JsonNode profile(document, "seccomp");
  for (const char* key : {"flags", "listenerPath", "listenerMetadata"}) {
    if (profile.Key(key).present()) return Unimplemented(std::string(key) + " is left to the runtime");
  }
  ASSIGN_OR_RETURN(uint32_t default_action, ActionOf(profile, "defaultAction", "defaultErrnoRet"));
  Context context(::seccomp_init(default_action));
  if (!context) return ResourceExhausted("libseccomp could not start");
  RETURN_IF_ERROR(AddArchitectures(context.get(), profile));
  RETURN_IF_ERROR(AddRules(context.get(), default_action, profile));
  return Export(context.get());
}

std::string SeccompCache::Filter(const std::string& profile_json) {
  std::lock_guard lock(mutex_);
  auto it = filters_.find(profile_json);
  if (it != filters_.end()) return it->second;
  Result<std::string> filter = CompileSeccomp(profile_json);
  // libseccomp's working memory, a megabyte for the default profile, goes back to the system: there will not be
  // another profile soon.
  ::malloc_trim(0);
  if (!filter.ok()) LogDebug("seccomp profile is compiled by the runtime: {}", filter.status().message());
  // More profiles than any node has: start again instead of keeping account of their use.
  if (filters_.size() >= kMaxProfiles) filters_.clear();
  return filters_[profile_json] = filter.ok() ? Base64(*filter) : std::string();
}

}  // namespace davit::container
