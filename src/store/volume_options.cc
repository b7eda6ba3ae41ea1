// The options of the driver "local", as Docker and Podman take them.

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "store/volumes.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

// <sys/mount.h> and <linux/mount.h> do not go into one file; the numbers are the kernel's.
struct Flag {
  std::string_view name;
  unsigned long bit;
};
constexpr std::array<Flag, 6> kFlags = {
    {{"nosuid", 2}, {"nodev", 4}, {"noexec", 8}, {"noatime", 1024}, {"nodiratime", 2048}, {"relatime", 1UL << 21}}};
constexpr std::array<std::string_view, 6> kTmpfsKeys = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"};

Status Bad(const std::string& option, const std::string& why) {
  return InvalidArgument("option \"" + Printable(option, 200) + "\" of the volume: " + why);
}

Result<uint32_t> ParseId(const std::string& option, const std::string& value) {
  const std::optional<uint64_t> id = ParseUint64(value);
  if (!id || *id >= UINT32_MAX) return Bad(option, "no user or group ID");
  return static_cast<uint32_t>(*id);
}

Status ParsePlain(const std::string& option, VolumeMount& mount) {
  const size_t equals = option.find('=');
  const std::string key = option.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
  if (key == "uid") {
    ASSIGN_OR_RETURN(mount.uid, ParseId(option, value));
  } else if (key == "gid") {
    ASSIGN_OR_RETURN(mount.gid, ParseId(option, value));
  } else {
    return Bad(option, "without a type there are only uid= and gid=");
  }
  return {};
}

Status ParseTmpfs(const std::string& option, VolumeMount& mount) {
  const auto* flag = std::find_if(kFlags.begin(), kFlags.end(), [&](const Flag& f) { return f.name == option; });
  if (flag != kFlags.end()) {
    mount.flags |= flag->bit;
    return {};
  }
  const size_t equals = option.find('=');
  const bool known = equals != std::string::npos &&
                     std::find(kTmpfsKeys.begin(), kTmpfsKeys.end(), option.substr(0, equals)) != kTmpfsKeys.end();
  const bool plain =
      known && option.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.%=GMKkmg") == std::string::npos;
  if (!plain) return Bad(option, "not known of a tmpfs");
  mount.data += (mount.data.empty() ? "" : ",") + option;
  return {};
}

}  // namespace

Result<VolumeMount> ParseVolumeOptions(const std::map<std::string, std::string>& options) {
  VolumeMount mount;
  auto value = [&](const char* key) {
    auto found = options.find(key);
    return found == options.end() ? std::string() : found->second;
  };
  for (const auto& [key, text] : options) {
    if (key != "type" && key != "device" && key != "o") return Bad(key, "only type, device and o are known");
    if (text.size() > 4096 || text.find('\0') != std::string::npos) return Bad(key, "too long, or with a NUL byte");
  }
  const std::string type = value("type");
  const std::string device = value("device");
  std::vector<std::string> list = Split(value("o"), ',');
  std::erase_if(list, [](const std::string& option) { return option.empty(); });
  auto take = [&](std::string_view name) { return std::erase(list, std::string(name)) > 0; };
  mount.read_only = take("ro");
  take("rw");
  if (type == "tmpfs") {
    mount.tmpfs = true;
    for (const std::string& option : list) RETURN_IF_ERROR(ParseTmpfs(option, mount));
    return mount;
  }
  const bool bound = take("bind") | take("rbind");
  if (bound || type == "bind") {
    if (!type.empty() && type != "none" && type != "bind") return Bad("type", "\"" + Printable(type) + "\" with bind");
    if (device.empty() || device[0] != '/') return Bad("device", "a bind needs an absolute path");
    if (!list.empty()) return Bad(list.front(), "not known of a bind");
    mount.bind = device;
    return mount;
  }
  if (!type.empty() && type != "none") {
    return Bad("type", "\"" + Printable(type) + "\" is not supported: mount it on the node, and bind that directory");
  }
  if (!device.empty()) return Bad("device", "needs a type, or the option bind");
  for (const std::string& option : list) RETURN_IF_ERROR(ParsePlain(option, mount));
  return mount;
}

bool IsVolumeName(std::string_view name) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  constexpr std::string_view kRest = "_.-";
  if (name.empty() || name.size() > 255 || kFirst.find(name[0]) == std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return kFirst.find(c) != std::string_view::npos || kRest.find(c) != std::string_view::npos;
  });
}

}  // namespace davit::store
