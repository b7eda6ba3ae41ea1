#include "native/devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/strings.h"
#include "native/target.h"
#include "sys/mounts.h"

namespace davit::native {
namespace {

constexpr size_t kMaxUevent = 4096;

mode_t TypeOf(const oci::Device& device) {
  return device.type == 'b' ? S_IFBLK : device.type == 'p' ? S_IFIFO : S_IFCHR;
}

dev_t NumberOf(const oci::Device& device) {
  if (device.type == 'p') return 0;
  return ::makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
}

bool IsDevice(int fd, const oci::Device& device) {
  struct stat st;
  if (::fstat(fd, &st) != 0 || (st.st_mode & S_IFMT) != TypeOf(device)) return false;
  return device.type == 'p' || st.st_rdev == NumberOf(device);
}

std::string Describe(const oci::Device& device) {
  return std::string(1, device.type) + " " + std::to_string(device.major) + ":" + std::to_string(device.minor);
}

Status SetOwner(const RootSetup& setup, int fd, const oci::Device& device, mode_t mode) {
  if (::fchownat(fd, "", device.uid.value_or(0), device.gid.value_or(0), AT_EMPTY_PATH) != 0) {
    return ErrnoError(errno, "set the owner");
  }
  // fchmod(2) does not take O_PATH descriptors; through procfs it is the same file, no name is looked up.
  ASSIGN_OR_RETURN(sys::UniqueFd descriptors, setup.procfs.OpenOwn("fd", O_PATH | O_DIRECTORY));
  if (::fchmodat(descriptors.get(), std::to_string(fd).c_str(), mode, 0) != 0) return ErrnoError(errno, "set the mode");
  return {};
}

// The node's name for a device: what udev's rules or devtmpfs made of its number.
Result<sys::UniqueFd> OpenOnNode(const oci::Device& device) {
  std::vector<std::string> names = {device.path};
  std::string kind = device.type == 'b' ? "block" : "char";
  Result<std::string> uevent = sys::ReadFile(
      "/sys/dev/" + kind + "/" + std::to_string(device.major) + ":" + std::to_string(device.minor) + "/uevent",
      kMaxUevent);
  for (const std::string& line : Split(uevent.value_or(""), '\n')) {
    if (line.starts_with("DEVNAME=")) names.push_back("/dev/" + line.substr(8));
  }
  for (const std::string& name : names) {
    Result<sys::UniqueFd> fd = sys::Open(name, O_PATH | O_NOFOLLOW);
    if (fd.ok() && IsDevice(fd->get(), device)) return fd;
  }
  return NotFound("the node has no device " + Describe(device) + " that could be bind mounted");
}

Status BindDevice(const RootSetup& setup, const oci::Device& device) {
  ASSIGN_OR_RETURN(sys::UniqueFd source, OpenOnNode(device));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(source.get(), false));
  RETURN_IF_ERROR(SetMountPropagation(tree.get(), MS_PRIVATE, false));
  ASSIGN_OR_RETURN(sys::UniqueFd target, MakeFileTarget(setup.root, device.path));
  return Attach(tree.get(), target.get());
}

Status MakeDevice(const RootSetup& setup, const oci::Device& device) {
  if (setup.in_user_namespace && device.type != 'p') return BindDevice(setup, device);
  ASSIGN_OR_RETURN(Place place, MakeParent(setup.root, device.path));
  mode_t mode = device.file_mode.value_or(0666) & 07777;
  if (::mknodat(place.directory.get(), place.name.c_str(), TypeOf(device) | mode, NumberOf(device)) != 0) {
    if (errno == EPERM && device.type != 'p') return BindDevice(setup, device);
    if (errno != EEXIST) return ErrnoError(errno, "mknod");
  }
  sys::UniqueFd made(::openat(place.directory.get(), place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!made.valid()) return ErrnoError(errno, "open");
  // There already, or changed under our hands: either it is what it should be, or it is not used.
  if (!IsDevice(made.get(), device)) return AlreadyExists("there is something else than device " + Describe(device));
  return SetOwner(setup, made.get(), device, mode);
}

const std::vector<oci::Device>& DefaultDevices() {
  static const std::vector<oci::Device> kDevices = {
      {"/dev/null", 'c', 1, 3, {}, {}, {}},    {"/dev/zero", 'c', 1, 5, {}, {}, {}},
      {"/dev/full", 'c', 1, 7, {}, {}, {}},    {"/dev/random", 'c', 1, 8, {}, {}, {}},
      {"/dev/urandom", 'c', 1, 9, {}, {}, {}}, {"/dev/tty", 'c', 5, 0, {}, {}, {}},
  };
  return kDevices;
}

// What the specification says about a path, counts more than the default.
bool Overridden(const std::vector<oci::Device>& devices, const std::string& path) {
  for (const oci::Device& device : devices) {
    if (device.path == path) return true;
  }
  return false;
}

struct Link {
  const char* name;
  const char* target;
};
constexpr std::array<Link, 4> kLinks = {{{"fd", "/proc/self/fd"},
                                         {"stdin", "/proc/self/fd/0"},
                                         {"stdout", "/proc/self/fd/1"},
                                         {"stderr", "/proc/self/fd/2"}}};

}  // namespace

bool OwnsDev(const oci::RuntimeSpec& spec) {
  for (const oci::SpecMount& mount : spec.mounts) {
    if (mount.destination != "/dev" && mount.destination != "/dev/") continue;
    Result<MountOptions> options = ParseMountOptions(mount);
    if (options.ok() && options->bind) return false;
  }
  return true;
}

Status MakeDevices(const RootSetup& setup) {
  if (!OwnsDev(setup.spec)) return {};
  const std::vector<oci::Device>& wanted = setup.spec.linux_.devices;
  for (const oci::Device& device : DefaultDevices()) {
    if (Overridden(wanted, device.path)) continue;
    RETURN_IF_ERROR(MakeDevice(setup, device).Annotate("device " + device.path));
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    RETURN_IF_ERROR(
        MakeDevice(setup, wanted[i]).Annotate("linux.devices[" + std::to_string(i) + "] " + Printable(wanted[i].path)));
  }
  return {};
}

Status MakeDeviceLinks(const RootSetup& setup) {
  if (!OwnsDev(setup.spec)) return {};
  ASSIGN_OR_RETURN_WITH(sys::UniqueFd dev, MakeDirectoryTarget(setup.root, "/dev"), "links of /dev");
  auto link = [&dev](const char* name, const char* target) -> Status {
    if (::symlinkat(target, dev.get(), name) == 0 || errno == EEXIST) return {};
    return ErrnoError(errno, std::string("link /dev/") + name);
  };
  for (const Link& one : kLinks) RETURN_IF_ERROR(link(one.name, one.target));
  if (setup.procfs.OpenFile("kcore", O_PATH).ok()) RETURN_IF_ERROR(link("core", "/proc/kcore"));
  // Whatever the image has at /dev/ptmx: the container's own pseudo terminals are those of its devpts.
  if (::unlinkat(dev.get(), "ptmx", 0) != 0 && errno != ENOENT) return ErrnoError(errno, "remove /dev/ptmx");
  return link("ptmx", "pts/ptmx");
}

Result<sys::UniqueFd> OpenNull() {
  ASSIGN_OR_RETURN(sys::UniqueFd null, sys::Open("/dev/null", O_PATH | O_NOFOLLOW));
  if (!IsDevice(null.get(), DefaultDevices()[0]))
    return FailedPrecondition("/dev/null of the node is not the null device");
  return null;
}

}  // namespace davit::native
