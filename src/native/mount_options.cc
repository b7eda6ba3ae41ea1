#include "native/mount_options.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/strings.h"
#include "sys/mounts.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000  // Linux 5.14
#endif
#ifndef MOUNT_ATTR__ATIME
#define MOUNT_ATTR__ATIME 0x00000070
#endif

namespace davit::native {
namespace {

struct AttributeName {
  std::string_view name;
  uint64_t set;
  uint64_t clear;
};

// The atime attributes are one field of several bits: setting one means clearing the field (mount_setattr(2)).
constexpr std::array<AttributeName, 19> kAttributes = {{
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", 0, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", 0, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", 0, MOUNT_ATTR__ATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    {"defaults", 0, 0},
}};

struct PropagationName {
  std::string_view name;
  unsigned long flag;
};
constexpr std::array<PropagationName, 4> kPropagations = {
    {{"shared", MS_SHARED}, {"slave", MS_SLAVE}, {"private", MS_PRIVATE}, {"unbindable", MS_UNBINDABLE}}};

// Of mount(8), without a meaning for a kernel.
constexpr std::array<std::string_view, 4> kNothing = {"async", "loud", "nolazytime", "nomand"};

const AttributeName* FindAttribute(std::string_view name) {
  for (const AttributeName& known : kAttributes) {
    if (name == known.name) return &known;
  }
  return nullptr;
}

void Add(Attributes& to, const AttributeName& what) {
  // The last of two that contradict counts, as with mount(8).
  to.set = (to.set & ~what.clear) | what.set;
  to.clear = (to.clear & ~what.set) | what.clear;
}

bool TakeAttribute(MountOptions& options, std::string_view name) {
  if (const AttributeName* known = FindAttribute(name)) {
    Add(options.attributes, *known);
    return true;
  }
  if (!name.starts_with('r')) return false;
  const AttributeName* known = FindAttribute(name.substr(1));
  if (known == nullptr || known->name == "defaults") return false;
  Add(options.below, *known);
  return true;
}

bool TakePropagation(MountOptions& options, std::string_view name) {
  for (const PropagationName& known : kPropagations) {
    bool recursive = name.starts_with('r') && name.substr(1) == known.name;
    if (!recursive && name != known.name) continue;
    options.propagation = known.flag;
    options.propagation_recursive = recursive;
    return true;
  }
  return false;
}

bool TakeKind(MountOptions& options, std::string_view name) {
  if (name == "bind" || name == "rbind") {
    options.bind = true;
    options.recursive = name == "rbind";
  } else if (name == "remount") {
    options.remount = true;
  } else if (name == "tmpcopyup") {
    options.copy_up = true;
  } else if (name == "idmap" || name == "ridmap") {
    options.idmap = true;
    options.idmap_recursive = name == "ridmap";
  } else {
    return false;
  }
  return true;
}

}  // namespace

Result<MountOptions> ParseMountOptions(const oci::SpecMount& mount) {
  MountOptions options;
  options.bind = mount.type == "bind";
  options.idmap = !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
  for (const std::string& option : mount.options) {
    if (option.empty() || TakeKind(options, option)) continue;
    // "rrelatime" is an attribute and "relatime" not the recursive "elatime": whole names first.
    if (TakeAttribute(options, option) || TakePropagation(options, option)) continue;
    if (std::find(kNothing.begin(), kNothing.end(), option) != kNothing.end()) continue;
    size_t equals = option.find('=');
    if (equals == std::string::npos) {
      options.flags.push_back(option);
    } else {
      options.data.emplace_back(option.substr(0, equals), option.substr(equals + 1));
    }
  }
  if (options.copy_up && mount.type != "tmpfs") return InvalidArgument("tmpcopyup is for tmpfs only");
  if (options.idmap && !options.bind) return InvalidArgument("only a bind mount can be id-mapped");
  if (mount.uid_mappings.empty() != mount.gid_mappings.empty()) {
    return InvalidArgument("uidMappings and gidMappings: one without the other");
  }
  return options;
}

}  // namespace davit::native
