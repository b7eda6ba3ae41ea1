#include "sys/loop_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr uint64_t kSector = 512;
constexpr int kTries = 128;  // others take the free device that one was told of

Result<UniqueFd> OpenLoopControl() {
  Result<UniqueFd> control = Open("/dev/loop-control", O_RDWR);
  if (control.code() == StatusCode::kNotFound) {
    return FailedPrecondition("no /dev/loop-control: the node has no loop devices (modprobe loop)");
  }
  return control;
}

// A bound device and its name.
struct Device {
  UniqueFd fd;
  std::string path;
};

Result<Device> BindDevice(const LoopMount& mount) {
  ASSIGN_OR_RETURN(UniqueFd control, OpenLoopControl());
  loop_config config{};
  config.fd = static_cast<uint32_t>(mount.file);
  config.info.lo_offset = mount.offset;
  config.info.lo_sizelimit = (mount.size + kSector - 1) / kSector * kSector;
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  const size_t named = std::min(mount.name.size(), sizeof config.info.lo_file_name - 1);
  std::memcpy(config.info.lo_file_name, mount.name.data(), named);
  for (int i = 0; i < kTries; ++i) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) {
      const int err = errno;
      if (err == ENOSPC) return ResourceExhausted("no loop device is free");
      return ErrnoError(err, "find a free loop device");
    }
    Device device;
    device.path = fmt::format("/dev/loop{}", number);
    ASSIGN_OR_RETURN(device.fd, Open(device.path, O_RDONLY));
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) return device;
    const int err = errno;
    if (err == EBUSY) continue;
    if (err == EINVAL || err == ENOTTY) {
      return FailedPrecondition(fmt::format("bind {} to {}: {} (LOOP_CONFIGURE needs Linux 5.8)", device.path,
                                            mount.name, std::strerror(err)));
    }
    return ErrnoError(err, fmt::format("bind {} to {}", device.path, mount.name));
  }
  return ResourceExhausted("every free loop device was taken by somebody else");
}

}  // namespace

Status MountLoop(const LoopMount& mount, const std::string& target) {
  if (mount.offset % kSector != 0 || mount.size == 0) {
    return Unimplemented(fmt::format("{}: the filesystem begins at byte {}, which is no multiple of {}", mount.name,
                                     mount.offset, kSector));
  }
  ASSIGN_OR_RETURN(Device device, BindDevice(mount));
  const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::syscall(SYS_mount, device.path.c_str(), target.c_str(), mount.fs_type.c_str(), flags, nullptr) == 0) return {};
  const int err = errno;
  const std::string what = fmt::format("mount the {} at byte {} of {}", mount.fs_type, mount.offset, mount.name);
  if (err == ENODEV) {
    return FailedPrecondition(
        fmt::format("{}: this kernel has no {} (modprobe {})", what, mount.fs_type, mount.fs_type));
  }
  if (err == EINVAL || err == EIO) {
    return DataLoss(what + ": the kernel does not take it; it is damaged, or packed in a way that this kernel lacks");
  }
  return ErrnoError(err, what);
}

}  // namespace davit::sys
