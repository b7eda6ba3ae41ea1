// Mount options: the strings of mounts[].options in the terms of the mount system calls.
//
// Source: OCI runtime-spec 1.3, config.md, "Linux mount options"; mount(8); mount_setattr(2).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "oci/runtime_spec.h"

namespace davit::native {

// Bits of mount_attr: attr_set and attr_clr.
struct Attributes {
  uint64_t set = 0;
  uint64_t clear = 0;
  [[nodiscard]] bool empty() const { return set == 0 && clear == 0; }
};

struct MountOptions {
  bool bind = false;
  bool recursive = false;  // rbind
  bool remount = false;
  bool copy_up = false;                                   // tmpcopyup
  bool idmap = false;                                     // idmap, ridmap
  bool idmap_recursive = false;                           // ridmap
  Attributes attributes;                                  // of the mount itself
  Attributes below;                                       // rro, rnosuid, …: of it and all mounts below
  unsigned long propagation = 0;                          // MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE
  bool propagation_recursive = false;                     // rshared, …
  std::vector<std::string> flags;                         // of the filesystem, without a value: "sync"
  std::vector<std::pair<std::string, std::string>> data;  // with one: "size", "64k"
};

// kInvalidArgument for options that contradict each other. What is not known belongs to the filesystem, which is asked.
Result<MountOptions> ParseMountOptions(const oci::SpecMount& mount);

}  // namespace davit::native
