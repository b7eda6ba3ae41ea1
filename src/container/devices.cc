#include "container/devices.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>

#include "base/strings.h"

namespace davit::container {
namespace {

constexpr int kMaxDirectoryDepth = 4;  // /dev/bus/usb/001 and one more
constexpr size_t kMaxPath = 4096;

struct CloseDirectory {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::string Join(const std::string& directory, const std::string& name) {
  return directory.empty() || directory.back() != '/' ? directory + "/" + name : directory + name;
}

bool IsCleanAbsolute(const std::string& path) {
  if (path.empty() || path[0] != '/' || path.size() > kMaxPath || path.find('\0') != std::string::npos) return false;
  std::vector<std::string> parts = Split(path, '/');
  return std::find(parts.begin(), parts.end(), "..") == parts.end();
}

// Entries of a directory by kind, sorted, so that the same host gives the same container.
struct Entries {
  std::vector<std::string> directories;
  std::vector<std::string> nodes;
};

Result<Entries> List(const std::string& directory) {
  Directory dir(::opendir(directory.c_str()));
  if (!dir) return ErrnoError(errno, "open " + Printable(directory, 512));
  Entries entries;
  while (dirent* entry = ::readdir(dir.get())) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entry->d_type == DT_DIR) entries.directories.push_back(name);
    if (entry->d_type == DT_CHR || entry->d_type == DT_BLK) entries.nodes.push_back(name);
  }
  std::sort(entries.directories.begin(), entries.directories.end());
  std::sort(entries.nodes.begin(), entries.nodes.end());
  return entries;
}

Status TooMany(const std::string& field) {
  return InvalidArgument(field + ": more than " + std::to_string(kMaxDevices) + " devices in one container");
}

Status AddDirectory(const Device& asked, const std::string& access, const std::string& field, int depth,
                    oci::Linux& linux_part) {
  ASSIGN_OR_RETURN_WITH(Entries entries, List(asked.host_path), field + ".host_path");
  for (const std::string& name : entries.nodes) {
    if (linux_part.devices.size() >= kMaxDevices) return TooMany(field);
    // One that has gone since it was listed is not missed.
    Result<oci::Device> device = HostDevice(Join(asked.host_path, name), Join(asked.container_path, name));
    if (device.ok()) PutDevice(std::move(*device), access, linux_part);
  }
  if (depth == 0) return {};
  for (const std::string& name : entries.directories) {
    Device below{Join(asked.container_path, name), Join(asked.host_path, name), asked.permissions};
    RETURN_IF_ERROR(AddDirectory(below, access, field, depth - 1, linux_part));
  }
  return {};
}

// The node's devices for a privileged container. What the runtime makes itself is left out.
void AddHostDevices(const std::string& directory, int depth, std::vector<oci::Device>& devices) {
  static const std::set<std::string> kOwn = {"/dev/pts",  "/dev/shm",  "/dev/mqueue", "/dev/console", "/dev/fd",
                                             "/dev/null", "/dev/zero", "/dev/full",   "/dev/random",  "/dev/urandom",
                                             "/dev/tty",  "/dev/ptmx", "/dev/.udev",  "/dev/.lxc"};
  Result<Entries> entries = List(directory);
  if (!entries.ok()) return;
  for (const std::string& name : entries->nodes) {
    std::string path = Join(directory, name);
    if (kOwn.count(path) != 0 || devices.size() >= kMaxDevices) continue;
    if (Result<oci::Device> device = HostDevice(path, path); device.ok()) devices.push_back(std::move(*device));
  }
  if (depth == 0) return;
  for (const std::string& name : entries->directories) {
    std::string path = Join(directory, name);
    if (kOwn.count(path) == 0) AddHostDevices(path, depth - 1, devices);
  }
}

Status ValidateDevice(const Device& asked, const std::string& field) {
  if (asked.permissions.size() > 3 || asked.permissions.find_first_not_of("rwm") != std::string::npos) {
    return InvalidArgument(field + ".permissions \"" + Printable(asked.permissions) + "\" has other letters than rwm");
  }
  if (!IsCleanAbsolute(asked.container_path)) {
    return InvalidArgument(field + ".container_path \"" + Printable(asked.container_path) +
                           "\" is not an absolute path without \"..\"");
  }
  if (!IsCleanAbsolute(asked.host_path)) {
    return InvalidArgument(field + ".host_path \"" + Printable(asked.host_path) +
                           "\" is not an absolute path without \"..\"");
  }
  return {};
}

std::string Field(size_t index) { return "devices[" + std::to_string(index) + "]"; }

}  // namespace

Status ValidateDevices(const std::vector<Device>& devices) {
  if (devices.size() > kMaxDevices) return TooMany("devices");
  for (size_t i = 0; i < devices.size(); ++i) RETURN_IF_ERROR(ValidateDevice(devices[i], Field(i)));
  return {};
}

Result<oci::Device> HostDevice(const std::string& host_path, const std::string& container_path) {
  struct stat info {};
  if (::stat(host_path.c_str(), &info) != 0) {
    Status status = ErrnoError(errno, "device " + Printable(host_path, 512));
    return Status(StatusCode::kInvalidArgument, status.message());
  }
  if (!S_ISCHR(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return InvalidArgument("device " + Printable(host_path, 512) + " is not a device node");
  }
  oci::Device device;
  device.path = container_path;
  device.type = S_ISCHR(info.st_mode) ? 'c' : 'b';
  device.major = major(info.st_rdev);
  device.minor = minor(info.st_rdev);
  device.file_mode = info.st_mode & 07777;
  device.uid = info.st_uid;
  device.gid = info.st_gid;
  return device;
}

void PutDevice(oci::Device device, const std::string& access, oci::Linux& linux_part) {
  if (device.type == 'c' || device.type == 'b') {
    linux_part.resources.devices.push_back({true, device.type, device.major, device.minor, access});
  }
  for (oci::Device& existing : linux_part.devices) {
    if (existing.path == device.path) {
      existing = std::move(device);
      return;
    }
  }
  linux_part.devices.push_back(std::move(device));
}

Status AddDevice(const Device& asked, const std::string& field, oci::Linux& linux_part) {
  RETURN_IF_ERROR(ValidateDevice(asked, field));
  const std::string access = asked.permissions.empty() ? "rwm" : asked.permissions;
  struct stat info {};
  if (::stat(asked.host_path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return AddDirectory(asked, access, field, kMaxDirectoryDepth, linux_part);
  }
  if (linux_part.devices.size() >= kMaxDevices) return TooMany(field);
  ASSIGN_OR_RETURN_WITH(oci::Device device, HostDevice(asked.host_path, asked.container_path), field);
  PutDevice(std::move(device), access, linux_part);
  return {};
}

Status AddDevices(const ContainerSpec& spec, bool host_devices, oci::Linux& linux_part) {
  const bool all = spec.security.privileged && host_devices;
  linux_part.resources.devices = all ? oci::AllowAllDevices() : oci::DefaultDeviceRules();
  if (all) AddHostDevices("/dev", kMaxDirectoryDepth, linux_part.devices);
  for (size_t i = 0; i < spec.devices.size(); ++i) RETURN_IF_ERROR(AddDevice(spec.devices[i], Field(i), linux_part));
  return {};
}

}  // namespace davit::container
