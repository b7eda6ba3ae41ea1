// A part of a file as a read-only filesystem, through a loop device (loop(4)) that clears itself.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace davit::sys {

struct LoopMount {
  int file = -1;        // open for reading; still the caller's
  std::string name;     // of the file, for errors
  uint64_t offset = 0;  // bytes, a multiple of 512
  uint64_t size = 0;    // bytes; the device has whole sectors of 512
  std::string fs_type;  // "squashfs"
};

// Mounts it at `target`, a directory: read-only, without set-user-id programs, devices and programs of its own (an
// overlay over it has them again, for the flags are those of the mount that is walked). The device is bound with
// LO_FLAGS_AUTOCLEAR before it is mounted: it goes with the mount, and with this process when that is killed between.
// kFailedPrecondition: no loop devices, or no such filesystem, on this kernel; kResourceExhausted: none is free;
// kDataLoss: the filesystem is damaged.
Status MountLoop(const LoopMount& mount, const std::string& target);

}  // namespace davit::sys
