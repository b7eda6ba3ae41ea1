#include "container/apparmor.h"

#include <unistd.h>

#include "base/log.h"
#include "base/strings.h"
#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr size_t kMaxProfiles = size_t{16} << 20;  // bytes of the kernel's list
constexpr size_t kMaxName = 4096;
constexpr std::string_view kLocalhost = "localhost/";
constexpr std::string_view kField = "linux.security_context.apparmor";

Status LoadDefault(const std::string& directory, const AppArmorPaths& paths, Deadline deadline) {
  if (::access(paths.parser.c_str(), X_OK) != 0) {
    return FailedPrecondition(paths.parser + " is not installed (package apparmor)");
  }
  const std::string file = directory + "/apparmor-" + std::string(kDefaultAppArmorProfile);
  RETURN_IF_ERROR(sys::WriteFileAtomic(file, DefaultAppArmorProfileText(), 0600, sys::Durability::kAtomic));
  sys::SpawnOptions options;
  // Without the parser's cache: its directory may be read-only, and this is once per boot.
  options.argv = {paths.parser, "--replace", "--skip-cache", file};
  options.env = sys::MinimalEnvironment();
  ASSIGN_OR_RETURN(sys::CommandResult result, sys::RunCommand(options, "", 4096, deadline));
  if (result.exit.code != 0 || result.exit.signal != 0) {
    return FailedPrecondition(paths.parser + ": " + Printable(Trim(result.err), 512));
  }
  return {};
}

Status CheckName(const std::string& name) {
  if (name.empty()) return InvalidArgument(std::string(kField) + ".localhost_ref is empty");
  if (name.size() > kMaxName || name.find_first_of(std::string_view("\0\n", 2)) != std::string::npos) {
    return InvalidArgument(std::string(kField) + ".localhost_ref is no name of a profile");
  }
  return {};
}

}  // namespace

AppArmorNode PrepareAppArmor(const std::string& directory, Deadline deadline, AppArmorPaths paths) {
  AppArmorNode node;
  node.paths = std::move(paths);
  Result<std::string> enabled = sys::ReadFile(node.paths.enabled, 64);
  node.enabled = enabled.ok() && !enabled->empty() && (*enabled)[0] == 'Y';
  if (!node.enabled) return node;
  Result<std::string> profiles = sys::ReadFile(node.paths.profiles, kMaxProfiles);
  if (!profiles.ok()) {
    node.problem =
        "the kernel's list of profiles cannot be read (is securityfs mounted?): " + profiles.status().message();
    return node;
  }
  node.default_loaded = HasAppArmorProfile(*profiles, kDefaultAppArmorProfile);
  if (node.default_loaded) return node;
  Status loaded = LoadDefault(directory, node.paths, deadline);
  node.default_loaded = loaded.ok();
  if (!loaded.ok()) node.problem = loaded.message();
  return node;
}

Result<std::string> ResolveAppArmor(const SecurityContext& security, const AppArmorNode& node) {
  const ProfileType type = security.apparmor ? security.apparmor->type : ProfileType::kRuntimeDefault;
  if (security.privileged || type == ProfileType::kUnconfined) {
    // Said aloud: davitd may itself run under a profile, which would be inherited.
    return std::string(node.enabled ? "unconfined" : "");
  }
  if (type == ProfileType::kRuntimeDefault) {
    if (!node.enabled) return std::string();
    if (node.default_loaded) return std::string(kDefaultAppArmorProfile);
    if (!security.apparmor) return std::string();  // nobody asked for it; the warning was given at start
    return FailedPrecondition(std::string(kField) + ": RuntimeDefault is asked for, but the profile " +
                              std::string(kDefaultAppArmorProfile) + " could not be loaded: " + node.problem);
  }
  const std::string& ref = security.apparmor->localhost_ref;
  const std::string name = ref.starts_with(kLocalhost) ? ref.substr(kLocalhost.size()) : ref;
  RETURN_IF_ERROR(CheckName(name));
  if (!node.enabled) {
    return FailedPrecondition(std::string(kField) + ": profile \"" + Printable(name) +
                              "\" is asked for, but this node's kernel has no AppArmor");
  }
  ASSIGN_OR_RETURN_WITH(std::string profiles, sys::ReadFile(node.paths.profiles, kMaxProfiles), std::string(kField));
  if (!HasAppArmorProfile(profiles, name)) {
    return InvalidArgument(std::string(kField) + ".localhost_ref: profile \"" + Printable(name) +
                           "\" is not loaded on this node");
  }
  return name;
}

Result<std::optional<SecurityProfile>> ParseAppArmorField(const std::string& text) {
  if (text.empty()) return std::optional<SecurityProfile>();
  if (text == "runtime/default") return std::optional(SecurityProfile{ProfileType::kRuntimeDefault, ""});
  if (text == "unconfined") return std::optional(SecurityProfile{ProfileType::kUnconfined, ""});
  if (text.starts_with(kLocalhost)) {
    return std::optional(SecurityProfile{ProfileType::kLocalhost, text.substr(kLocalhost.size())});
  }
  return InvalidArgument("linux.security_context.apparmor_profile \"" + Printable(text) +
                         "\" is none of runtime/default, unconfined and localhost/NAME");
}

bool HasAppArmorProfile(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    size_t end = list.find('\n');
    std::string_view line = list.substr(0, end);
    // Names have blanks and parentheses of their own; the mode comes last.
    size_t mode = line.rfind(" (");
    if (mode != std::string_view::npos && line.substr(0, mode) == name) return true;
    if (end == std::string_view::npos) break;
    list.remove_prefix(end + 1);
  }
  return false;
}

std::string DefaultAppArmorProfileText() {
  // attach_disconnected: paths of files that a container got from outside its mount namespace (a log pipe's
  // end, say) would otherwise be denied whatever the rules say.
  return R"(# Written by davitd at start; changes to this file are lost. To use rules of your own load a profile
# of the same name before davitd starts.
profile davit-default flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  capability,
  umount,
  unix,

  # Signals come from the host (the engine, the runtimes, which some distributions confine) and from
  # containers with this profile; they go only to the latter.
  signal (receive) peer=unconfined,
  signal (receive) peer=crun,
  signal (receive) peer=runc,
  signal (send, receive) peer=davit-default,
  ptrace (trace, read, tracedby, readby) peer=davit-default,

  # A mount could put a file of the container where one of the rules below looks.
  deny mount,

  # The kernel's settings and memory; IPC limits belong to the pod's own namespace.
  deny /proc/* w,
  deny /proc/{sysrq-trigger,kcore,kmem,mem,keys,timer_list,sched_debug} rwklx,
  deny /proc/{acpi,asound,bus,fs,irq,scsi,tty}/** wklx,
  deny /proc/sys/{abi,debug,dev,fs,vm}/** wklx,
  deny /proc/sys/kernel/{[^ms]*,m[^s]*,s[^eh]*,se[^m]*,sh[^m]*} wklx,
  deny /proc/sys/kernel/*/** wklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
)";
}

}  // namespace davit::container
