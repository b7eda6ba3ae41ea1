// AppArmor: which profile a container's processes run under.
//
// Without a wish, and for RuntimeDefault, it is Davit's own profile, davit-default, which is loaded into the
// kernel at start unless one of that name is there (an administrator's own). On a kernel without AppArmor
// RuntimeDefault is no profile, as in Kubernetes, and Localhost an error.
//
// Source: apparmor.d(5), apparmor_parser(8); the kernel's securityfs file apparmor/profiles.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "container/spec.h"

namespace davit::container {

inline constexpr std::string_view kDefaultAppArmorProfile = "davit-default";

// Where things are; other values are for tests.
struct AppArmorPaths {
  std::string enabled = "/sys/module/apparmor/parameters/enabled";
  std::string profiles = "/sys/kernel/security/apparmor/profiles";
  std::string parser = "/usr/sbin/apparmor_parser";
};

// What this node can do, read once at start.
struct AppArmorNode {
  bool enabled = false;
  bool default_loaded = false;
  std::string problem;  // why the default profile is not loaded
  AppArmorPaths paths;
};

// Reads the node and loads the default profile where it is missing. `directory` exists and is davitd's own: the
// text of the profile is kept there. Never fails: what is wrong is in `problem`.
AppArmorNode PrepareAppArmor(const std::string& directory, Deadline deadline, AppArmorPaths paths = {});

// process.apparmorProfile, "" for none. kFailedPrecondition when this node cannot do what is asked,
// kInvalidArgument for a profile that is not loaded, naming it. Reads the kernel's list for Localhost.
Result<std::string> ResolveAppArmor(const SecurityContext& security, const AppArmorNode& node);

// The deprecated field apparmor_profile: "", "runtime/default", "unconfined" or "localhost/NAME".
// kInvalidArgument otherwise. nullopt for "".
Result<std::optional<SecurityProfile>> ParseAppArmorField(const std::string& text);

// Whether the text of the kernel's list ("name (mode)" in each line) has a profile of that name. Pure.
bool HasAppArmorProfile(std::string_view list, std::string_view name);

// The text of davit-default for apparmor_parser. Pure.
std::string DefaultAppArmorProfileText();

}  // namespace davit::container
