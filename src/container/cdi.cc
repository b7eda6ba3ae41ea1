#include "container/cdi.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/strings.h"
#include "container/devices.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr std::string_view kAnnotationPrefix = "cdi.k8s.io/";
constexpr size_t kMaxProblems = 2048;        // bytes of other files' faults in one error
constexpr int64_t kDefaultHookTimeout = 10;  // seconds; a hook that hangs would hang the create

bool HasSuffix(const std::string& name) {
  return name.ends_with(".json") || name.ends_with(".yaml") || name.ends_with(".yml");
}

// What says that the file has not changed since it was parsed.
std::string Identity(const struct stat& info) {
  auto number = [](auto value) { return std::to_string(value) + " "; };
  return number(info.st_dev) + number(info.st_ino) + number(info.st_size) + number(info.st_mtim.tv_sec) +
         number(info.st_mtim.tv_nsec) + number(info.st_ctim.tv_sec) + number(info.st_ctim.tv_nsec) +
         number(info.st_mode);
}

void Note(std::string& problems, const std::string& problem) {
  if (problems.size() > kMaxProblems) return;
  problems += (problems.empty() ? "" : "; ") + problem;
}

Result<std::vector<std::string>> ListFiles(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  std::vector<std::string> names;
  if (!dir) {
    if (errno == ENOENT) return names;
    return ErrnoError(errno, directory);
  }
  while (dirent* entry = ::readdir(dir.get())) {
    std::string name = entry->d_name;
    if (name[0] == '.' || !HasSuffix(name)) continue;
    if (names.size() >= kMaxCdiFiles) {
      return ResourceExhausted(directory + " has more than " + std::to_string(kMaxCdiFiles) + " files");
    }
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<CdiSpec> Load(const std::string& path, const struct stat& seen) {
  if (!S_ISREG(seen.st_mode)) return InvalidArgument("not a regular file");
  // Its hooks run as root: what everybody may write is nobody's word.
  if ((seen.st_mode & S_IWOTH) != 0) return InvalidArgument("writable by everybody");
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NONBLOCK));
  ASSIGN_OR_RETURN(std::string text, sys::ReadAll(fd.get(), kMaxCdiFile));
  return ParseCdiSpec(text, path.ends_with(".json") ? CdiFormat::kJson : CdiFormat::kYaml);
}

void SetVariable(std::vector<std::string>& env, const std::string& assignment) {
  const std::string key = assignment.substr(0, assignment.find('=') + 1);
  for (std::string& existing : env) {
    if (existing.starts_with(key)) {
      existing = assignment;
      return;
    }
  }
  env.push_back(assignment);
}

Result<oci::Device> DeviceOf(const CdiDeviceNode& node) {
  const std::string& host_path = node.host_path.empty() ? node.path : node.host_path;
  oci::Device device;
  if (node.type == 'p') {
    device.type = 'p';
  } else if (node.type == 0 || !node.major || !node.minor) {
    ASSIGN_OR_RETURN(oci::Device host, HostDevice(host_path, node.path));
    char wanted = node.type == 'u' ? 'c' : node.type;  // 'u' is an unbuffered character device
    if (wanted != 0 && wanted != host.type) {
      return InvalidArgument("device " + Printable(host_path, 512) + " is not of type " + std::string(1, node.type));
    }
    device.type = host.type;
    device.major = node.major.value_or(host.major);
    device.minor = node.minor.value_or(host.minor);
  } else {
    device.type = node.type == 'u' ? 'c' : node.type;
    device.major = *node.major;
    device.minor = *node.minor;
  }
  device.path = node.path;
  device.file_mode = node.file_mode;
  device.uid = node.uid;
  device.gid = node.gid;
  return device;
}

oci::SpecMount MountOf(const CdiMount& mount) {
  oci::SpecMount out{
      mount.container_path, mount.type.empty() ? "bind" : mount.type, mount.host_path, mount.options, {}, {}};
  auto has = [&](std::string_view option) {
    return std::find(out.options.begin(), out.options.end(), option) != out.options.end();
  };
  if (out.type == "bind" && !has("bind") && !has("rbind")) out.options.insert(out.options.begin(), "rbind");
  return out;
}

std::vector<oci::Hook>& ListOf(oci::Hooks& hooks, const std::string& name) {
  if (name == "prestart") return hooks.prestart;
  if (name == "createRuntime") return hooks.create_runtime;
  if (name == "createContainer") return hooks.create_container;
  if (name == "startContainer") return hooks.start_container;
  if (name == "poststart") return hooks.poststart;
  return hooks.poststop;
}

// The environment is the vendor's and a fixed PATH: nothing of the container's and nothing of the engine's
// (CVE-2024-0132 class: LD_PRELOAD of an image in a hook that runs as root on the host).
oci::Hook HookOf(const CdiHook& hook) {
  oci::Hook out{hook.path, hook.args, {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {}};
  if (out.args.empty()) out.args = {hook.path};
  for (const std::string& assignment : hook.env) SetVariable(out.env, assignment);
  out.timeout = hook.timeout.value_or(kDefaultHookTimeout);
  return out;
}

Status Apply(const CdiEdits& edits, oci::RuntimeSpec& spec) {
  for (const std::string& assignment : edits.env) SetVariable(spec.process.env, assignment);
  for (const CdiDeviceNode& node : edits.device_nodes) {
    if (spec.linux_.devices.size() >= kMaxDevices) return InvalidArgument("too many devices in one container");
    ASSIGN_OR_RETURN(oci::Device device, DeviceOf(node));
    PutDevice(std::move(device), node.permissions.empty() ? "rwm" : node.permissions, spec.linux_);
  }
  for (const CdiMount& mount : edits.mounts) {
    std::erase_if(spec.mounts, [&](const oci::SpecMount& m) { return m.destination == mount.container_path; });
    spec.mounts.push_back(MountOf(mount));
  }
  for (const CdiHook& hook : edits.hooks) ListOf(spec.hooks, hook.name).push_back(HookOf(hook));
  for (uint32_t gid : edits.additional_gids) {
    std::vector<uint32_t>& gids = spec.process.user.additional_gids;
    if (std::find(gids.begin(), gids.end(), gid) == gids.end()) gids.push_back(gid);
  }
  return {};
}

const CdiDevice* FindDevice(const CdiSpec& spec, const CdiName& name) {
  if (spec.kind != name.kind) return nullptr;
  for (const CdiDevice& device : spec.devices) {
    if (device.name == name.device) return &device;
  }
  return nullptr;
}

}  // namespace

Cdi::Cdi(std::vector<std::string> directories) : directories_(std::move(directories)) {}

Cdi::FilePtr Cdi::ReadOne(const std::string& path) {
  auto file = std::make_shared<File>();
  file->path = path;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return nullptr;
    file->problem = path + ": " + ErrnoError(errno, "stat").message();
    return file;
  }
  file->identity = Identity(info);
  {
    std::lock_guard lock(mutex_);
    auto it = cache_.find(path);
    if (it != cache_.end() && it->second->identity == file->identity) return it->second;
  }
  Result<CdiSpec> spec = Load(path, info);
  if (spec.ok()) {
    file->spec = std::make_shared<const CdiSpec>(std::move(*spec));
  } else {
    file->problem = path + ": " + spec.status().message();
  }
  std::lock_guard lock(mutex_);
  if (cache_.size() > kMaxCdiFiles * directories_.size()) cache_.clear();  // names that come and go
  cache_[path] = file;
  return file;
}

std::vector<Cdi::FilePtr> Cdi::ReadDirectory(const std::string& directory, std::string& problems) {
  std::vector<FilePtr> files;
  Result<std::vector<std::string>> names = ListFiles(directory);
  if (!names.ok()) {
    Note(problems, names.status().message());
    return files;
  }
  for (const std::string& name : *names) {
    FilePtr file = ReadOne(directory + "/" + name);
    if (!file) continue;
    if (!file->spec) Note(problems, file->problem);
    if (file->spec) files.push_back(std::move(file));
  }
  return files;
}

Result<CdiPlan> Cdi::Resolve(const std::vector<std::string>& names) {
  std::string problems;
  std::vector<std::vector<FilePtr>> directories;
  for (auto it = directories_.rbegin(); it != directories_.rend(); ++it) {
    directories.push_back(ReadDirectory(*it, problems));
  }
  CdiPlan plan;
  std::set<std::string> begun;  // files whose common edits are in the plan
  for (const std::string& text : names) {
    ASSIGN_OR_RETURN(CdiName name, ParseCdiName(text));
    FilePtr owner;
    const CdiDevice* device = nullptr;
    for (const std::vector<FilePtr>& files : directories) {
      for (const FilePtr& file : files) {
        const CdiDevice* found = FindDevice(*file->spec, name);
        if (found == nullptr) continue;
        if (device != nullptr) {
          return InvalidArgument("CDI device " + text + " is in two files of one directory: " + owner->path + " and " +
                                 file->path);
        }
        device = found;
        owner = file;
      }
      if (device != nullptr) break;
    }
    if (device == nullptr) {
      return InvalidArgument("CDI device " + text + " is not known: no specification in " + Join(directories_, ", ") +
                             " has it" + (problems.empty() ? "" : " (not read: " + problems + ")"));
    }
    if (begun.insert(owner->path).second) plan.push_back(owner->spec->edits);
    plan.push_back(device->edits);
  }
  return plan;
}

Result<std::vector<std::string>> CdiRequests(const ContainerSpec& spec) {
  std::vector<std::string> names;
  auto add = [&names](const std::string& text, const std::string& field) -> Status {
    Result<CdiName> name = ParseCdiName(text);
    if (!name.ok()) return name.status().Annotate(field);
    if (std::find(names.begin(), names.end(), text) != names.end()) return {};
    if (names.size() >= kMaxCdiRequests) return InvalidArgument(field + ": more than 256 CDI devices");
    names.push_back(text);
    return {};
  };
  for (size_t i = 0; i < spec.cdi_devices.size(); ++i) {
    RETURN_IF_ERROR(add(spec.cdi_devices[i], "CDI_devices[" + std::to_string(i) + "].name"));
  }
  for (const auto& [key, value] : spec.annotations) {
    if (!key.starts_with(kAnnotationPrefix)) continue;
    for (const std::string& text : Split(value, ',')) {
      RETURN_IF_ERROR(add(std::string(Trim(text)), "annotation " + Printable(key)));
    }
  }
  return names;
}

Status ApplyCdi(const CdiPlan& plan, oci::RuntimeSpec& spec) {
  for (const CdiEdits& edits : plan) RETURN_IF_ERROR(Apply(edits, spec));
  auto depth = [](const oci::SpecMount& mount) {
    return std::count(mount.destination.begin(), mount.destination.end(), '/');
  };
  std::stable_sort(spec.mounts.begin(), spec.mounts.end(),
                   [&](const oci::SpecMount& a, const oci::SpecMount& b) { return depth(a) < depth(b); });
  return {};
}

}  // namespace davit::container
