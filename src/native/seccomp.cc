#include "native/seccomp.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/strings.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)  // Linux 5.19
#endif

namespace davit::native {
namespace {

constexpr size_t kMaxFilter = BPF_MAXINSNS * sizeof(sock_filter);
constexpr size_t kMaxArguments = 6;
constexpr const char* kCompiled = "run.oci.seccomp_bpf_data";

struct Release {
  void operator()(void* context) const { ::seccomp_release(context); }
};
using Context = std::unique_ptr<void, Release>;

Result<uint32_t> ActionOf(const std::string& name, std::optional<uint32_t> errno_value) {
  uint32_t data = errno_value.value_or(EPERM);
  if (data > 0xffff) return InvalidArgument("errnoRet " + std::to_string(data) + " is not in 0..65535");
  if (name == "SCMP_ACT_ALLOW") return uint32_t{SCMP_ACT_ALLOW};
  if (name == "SCMP_ACT_ERRNO") return uint32_t{SCMP_ACT_ERRNO(data)};
  if (name == "SCMP_ACT_TRACE") return uint32_t{SCMP_ACT_TRACE(data)};
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return uint32_t{SCMP_ACT_KILL_THREAD};
  if (name == "SCMP_ACT_KILL_PROCESS") return uint32_t{SCMP_ACT_KILL_PROCESS};
  if (name == "SCMP_ACT_TRAP") return uint32_t{SCMP_ACT_TRAP};
  if (name == "SCMP_ACT_LOG") return uint32_t{SCMP_ACT_LOG};
  if (name == "SCMP_ACT_NOTIFY") return uint32_t{SCMP_ACT_NOTIFY};
  return InvalidArgument("action \"" + Printable(name) + "\" is not known");
}

Result<scmp_compare> OperatorOf(const std::string& name) {
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
  return InvalidArgument("operator \"" + Printable(name) + "\" is not known");
}

Result<unsigned> FlagOf(const std::string& name) {
  if (name == "SECCOMP_FILTER_FLAG_TSYNC") return unsigned{SECCOMP_FILTER_FLAG_TSYNC};
  if (name == "SECCOMP_FILTER_FLAG_LOG") return unsigned{SECCOMP_FILTER_FLAG_LOG};
  if (name == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") return unsigned{SECCOMP_FILTER_FLAG_SPEC_ALLOW};
  if (name == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") return unsigned{SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV};
  return InvalidArgument("flag \"" + Printable(name) + "\" is not known");
}

Result<std::vector<scmp_arg_cmp>> ArgumentsOf(const oci::SeccompRule& rule) {
  std::vector<scmp_arg_cmp> arguments;
  if (rule.args.size() > kMaxArguments) return InvalidArgument("more than six conditions");
  for (const oci::SeccompArgument& argument : rule.args) {
    if (argument.index >= kMaxArguments) return InvalidArgument("argument index is not in 0..5");
    ASSIGN_OR_RETURN(scmp_compare op, OperatorOf(argument.op));
    arguments.push_back(scmp_arg_cmp{argument.index, op, argument.value, argument.value_two});
  }
  return arguments;
}

Status AddRule(scmp_filter_ctx context, uint32_t action, int number, const std::vector<scmp_arg_cmp>& arguments) {
  std::array<int, kMaxArguments> conditions{};
  for (const scmp_arg_cmp& argument : arguments) ++conditions.at(argument.arg);
  // Several conditions on one argument cannot be one rule; as rules of their own any of them is enough, which is what
  // the specification says of them.
  bool repeated = std::any_of(conditions.begin(), conditions.end(), [](int n) { return n > 1; });
  size_t at_once = repeated ? 1 : arguments.size();
  for (size_t i = 0; i == 0 || i < arguments.size(); i += std::max<size_t>(at_once, 1)) {
    int rc = ::seccomp_rule_add_array(context, action, number, static_cast<unsigned>(at_once), arguments.data() + i);
    if (rc != 0) return ErrnoError(-rc, "add a rule");
  }
  return {};
}

Status AddRules(scmp_filter_ctx context, uint32_t default_action, const oci::Seccomp& profile) {
  for (size_t i = 0; i < profile.syscalls.size(); ++i) {
    const oci::SeccompRule& rule = profile.syscalls[i];
    std::string where = "syscalls[" + std::to_string(i) + "]";
    ASSIGN_OR_RETURN_WITH(uint32_t action, ActionOf(rule.action, rule.errno_ret), where);
    if (action == default_action) continue;  // libseccomp refuses a rule that changes nothing
    ASSIGN_OR_RETURN_WITH(std::vector<scmp_arg_cmp> arguments, ArgumentsOf(rule), where);
    for (const std::string& name : rule.names) {
      int number = ::seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) continue;  // of a newer kernel, or none at all
      RETURN_IF_ERROR(AddRule(context, action, number, arguments).Annotate(where + " " + Printable(name)));
    }
  }
  return {};
}

Status AddArchitectures(scmp_filter_ctx context, const std::vector<std::string>& names) {
  for (const std::string& full : names) {
    constexpr std::string_view kPrefix = "SCMP_ARCH_";
    std::string name = full.starts_with(kPrefix) ? full.substr(kPrefix.size()) : full;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    uint32_t architecture = ::seccomp_arch_resolve_name(name.c_str());
    if (architecture == 0) return InvalidArgument("architecture \"" + Printable(full) + "\" is not known");
    int rc = ::seccomp_arch_add(context, architecture);
    if (rc != 0 && rc != -EEXIST) return ErrnoError(-rc, "add architecture " + full);
  }
  return {};
}

Result<std::string> Export(scmp_filter_ctx context) {
  sys::UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoError(errno, "memfd_create");
  int rc = ::seccomp_export_bpf(context, file.get());
  if (rc != 0) return ErrnoError(-rc, "export the filter");
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "lseek");
  return sys::ReadAll(file.get(), kMaxFilter);
}

// -1: no digit.
int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool Notifies(const oci::Seccomp& profile) {
  return profile.default_action == "SCMP_ACT_NOTIFY" ||
         std::any_of(profile.syscalls.begin(), profile.syscalls.end(),
                     [](const oci::SeccompRule& rule) { return rule.action == "SCMP_ACT_NOTIFY"; });
}

}  // namespace

Result<SeccompFilter> CompileSeccomp(const oci::Seccomp& profile) {
  SeccompFilter filter;
  for (const std::string& name : profile.flags) {
    ASSIGN_OR_RETURN(unsigned flag, FlagOf(name));
    filter.flags |= flag;
  }
  if (profile.default_action == "SCMP_ACT_NOTIFY") {
    return InvalidArgument("defaultAction SCMP_ACT_NOTIFY would stop the runtime itself");
  }
  if (Notifies(profile)) {
    if (profile.listener_path.empty()) return InvalidArgument("SCMP_ACT_NOTIFY without listenerPath");
    // seccomp(2): a notify descriptor and an error's thread id cannot both be the return value.
    filter.flags = (filter.flags & ~unsigned{SECCOMP_FILTER_FLAG_TSYNC}) | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    filter.listener_path = profile.listener_path;
    filter.listener_metadata = profile.listener_metadata;
  }
  ASSIGN_OR_RETURN_WITH(uint32_t action, ActionOf(profile.default_action, profile.default_errno_ret), "defaultAction");
  Context context(::seccomp_init(action));
  if (!context) return ResourceExhausted("libseccomp could not start");
  RETURN_IF_ERROR(AddArchitectures(context.get(), profile.architectures));
  RETURN_IF_ERROR(AddRules(context.get(), action, profile));
  ASSIGN_OR_RETURN(filter.program, Export(context.get()));
  return filter;
}

Result<SeccompFilter> DecodeSeccomp(std::string_view base64) {
  SeccompFilter filter;
  if (base64.size() > kMaxFilter / 3 * 4 + 4) return InvalidArgument("longer than the largest filter");
  while (base64.ends_with('=')) base64.remove_suffix(1);
  uint32_t bits = 0;
  int count = 0;
  for (char c : base64) {
    int digit = Base64Digit(c);
    if (digit < 0) return InvalidArgument("it is not base64");
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    filter.program.push_back(static_cast<char>((bits >> count) & 0xff));
  }
  if (filter.program.empty() || filter.program.size() % sizeof(sock_filter) != 0 || filter.program.size() > kMaxFilter)
    return InvalidArgument("it is no whole number of instructions");
  return filter;
}

Result<SeccompFilter> SeccompOf(const oci::RuntimeSpec& spec) {
  auto compiled = spec.annotations.find(kCompiled);
  if (compiled != spec.annotations.end()) {
    ASSIGN_OR_RETURN_WITH(SeccompFilter filter, DecodeSeccomp(compiled->second),
                          std::string("annotation ") + kCompiled);
    return filter;
  }
  if (!spec.linux_.seccomp_rules) return SeccompFilter{};
  ASSIGN_OR_RETURN_WITH(SeccompFilter filter, CompileSeccomp(*spec.linux_.seccomp_rules), "linux.seccomp");
  return filter;
}

Result<sys::UniqueFd> LoadSeccomp(const SeccompFilter& filter) {
  if (filter.program.empty()) return sys::UniqueFd();
  sock_fprog program = {};
  program.len = static_cast<unsigned short>(filter.program.size() / sizeof(sock_filter));
  program.filter = const_cast<sock_filter*>(reinterpret_cast<const sock_filter*>(filter.program.data()));
  unsigned flags = filter.flags;
  long rc = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  if (rc < 0 && errno == EINVAL && flags != 0) return Unimplemented("this kernel does not know a flag of the filter");
  if (rc < 0) return ErrnoError(errno, "seccomp");
  bool listens = (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
  return sys::UniqueFd(listens ? static_cast<int>(rc) : -1);
}

}  // namespace davit::native
