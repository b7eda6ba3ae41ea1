#include "oci/runtime_seccomp.h"
#include "oci/runtime_spec_fields.h"

namespace davit::oci {
namespace {

inline constexpr size_t kMaxRules = 4096;
inline constexpr size_t kMaxMetadata = 4096;

Status CheckAction(const std::string& at, std::string_view action) {
  return OneOf(at, action,
               {"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
                "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY"});
}

Status CheckErrno(const std::string& at, const std::optional<uint32_t>& number, std::string_view action) {
  if (!number) return {};
  // config-linux.md: an error, unless the action has a use for it.
  if (action != "SCMP_ACT_ERRNO" && action != "SCMP_ACT_TRACE") {
    return FieldError(at, fmt::format("goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE only, not with {}", action));
  }
  return *number > UINT16_MAX ? FieldError(at, "expected at most 65535") : Status();
}

Status CheckRule(const SeccompRule& rule, const std::string& at) {
  if (rule.names.empty()) return FieldError(at + ".names", "missing; expected at least one");
  RETURN_IF_ERROR(CheckAction(at + ".action", rule.action));
  RETURN_IF_ERROR(CheckErrno(at + ".errnoRet", rule.errno_ret, rule.action));
  for (size_t i = 0; i < rule.args.size(); ++i) {
    std::string here = Indexed(at + ".args", i);
    if (rule.args[i].index > 5) return FieldError(here + ".index", "expected 0 to 5");
    RETURN_IF_ERROR(OneOf(here + ".op", rule.args[i].op,
                          {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
                           "SCMP_CMP_MASKED_EQ"}));
  }
  return {};
}

Status CheckArchitecture(const std::string& at, std::string_view name) {
  return OneOf(at, name, {"SCMP_ARCH_NATIVE",      "SCMP_ARCH_X86",     "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",
                          "SCMP_ARCH_ARM",         "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",
                          "SCMP_ARCH_MIPS64N32",   "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32",
                          "SCMP_ARCH_PPC",         "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",
                          "SCMP_ARCH_S390X",       "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",
                          "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB"});
}

}  // namespace

void ReadSeccomp(SpecFields& fields, const JsonNode& at, Seccomp& out) {
  fields.Need(at.Key("defaultAction"), out.default_action);
  fields.Read(at.Key("defaultErrnoRet"), out.default_errno_ret);
  fields.Read(at.Key("architectures"), out.architectures);
  fields.Read(at.Key("flags"), out.flags);
  fields.Read(at.Key("listenerPath"), out.listener_path);
  fields.Read(at.Key("listenerMetadata"), out.listener_metadata);
  auto read_rule = [&](const JsonNode& node, SeccompRule& rule) {
    fields.Need(node.Key("names"), rule.names);
    fields.Need(node.Key("action"), rule.action);
    fields.Read(node.Key("errnoRet"), rule.errno_ret);
    fields.Each(node.Key("args"), rule.args, [&](const JsonNode& one, SeccompArgument& argument) {
      fields.Need(one.Key("index"), argument.index);
      fields.Need(one.Key("value"), argument.value);
      fields.Read(one.Key("valueTwo"), argument.value_two);
      fields.Need(one.Key("op"), argument.op);
    });
  };
  fields.Each(at.Key("syscalls"), out.syscalls, read_rule, kMaxRules);
}

Status ValidateSeccomp(const Seccomp& seccomp, std::string_view at_view) {
  std::string at(at_view);
  RETURN_IF_ERROR(CheckAction(at + ".defaultAction", seccomp.default_action));
  // Every call would wait for the listener, also those that reach it.
  if (seccomp.default_action == "SCMP_ACT_NOTIFY") {
    return FieldError(at + ".defaultAction", "SCMP_ACT_NOTIFY is not possible as the default");
  }
  RETURN_IF_ERROR(CheckErrno(at + ".defaultErrnoRet", seccomp.default_errno_ret, seccomp.default_action));
  for (size_t i = 0; i < seccomp.architectures.size(); ++i) {
    RETURN_IF_ERROR(CheckArchitecture(Indexed(at + ".architectures", i), seccomp.architectures[i]));
  }
  for (size_t i = 0; i < seccomp.flags.size(); ++i) {
    RETURN_IF_ERROR(OneOf(Indexed(at + ".flags", i), seccomp.flags[i],
                          {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                           "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}));
  }
  bool notifies = false;
  for (size_t i = 0; i < seccomp.syscalls.size(); ++i) {
    RETURN_IF_ERROR(CheckRule(seccomp.syscalls[i], Indexed(at + ".syscalls", i)));
    notifies = notifies || seccomp.syscalls[i].action == "SCMP_ACT_NOTIFY";
  }
  if (notifies && seccomp.listener_path.empty()) {
    return FieldError(at + ".listenerPath", "missing; SCMP_ACT_NOTIFY needs it");
  }
  if (!seccomp.listener_path.empty() && seccomp.listener_path[0] != '/') {
    return FieldError(at + ".listenerPath", "is not an absolute path");
  }
  // config-linux.md: metadata without a listener is an error.
  if (!seccomp.listener_metadata.empty() && seccomp.listener_path.empty()) {
    return FieldError(at + ".listenerMetadata", "goes with listenerPath only");
  }
  return seccomp.listener_metadata.size() > kMaxMetadata ? FieldError(at + ".listenerMetadata", "is too long")
                                                         : Status();
}

}  // namespace davit::oci
