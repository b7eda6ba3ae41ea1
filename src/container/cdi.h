// Cdi: the devices that the CDI specifications of this node describe, and what a container that asks for some of
// them gets.
//
// Directories come in order of priority, the last one strongest: /etc/cdi, /var/run/cdi. The same device in two
// files of one directory is a conflict, and nobody gets it; in a stronger directory it replaces the weaker one.
// Directories are read on every request; a file is parsed again only when it has changed. Files that are broken
// hurt only those who ask for a device that is not found elsewhere.
//
// Source: Container Device Interface specification, "Error handling", and the annotations cdi.k8s.io/*.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "container/cdi_spec.h"
#include "container/spec.h"
#include "oci/runtime_spec.h"

namespace davit::container {

inline constexpr size_t kMaxCdiFiles = 256;     // in one directory
inline constexpr size_t kMaxCdiRequests = 256;  // devices of one container

// One container's edits, in the order in which they are made.
using CdiPlan = std::vector<CdiEdits>;

class Cdi {
 public:
  explicit Cdi(std::vector<std::string> directories);

  // kInvalidArgument naming the device that no specification has, or that two have.
  Result<CdiPlan> Resolve(const std::vector<std::string>& names);

 private:
  struct File {
    std::string path;
    std::string identity;                 // inode, size and times
    std::shared_ptr<const CdiSpec> spec;  // nullptr: broken
    std::string problem;
  };
  using FilePtr = std::shared_ptr<const File>;

  std::vector<FilePtr> ReadDirectory(const std::string& directory, std::string& problems);
  FilePtr ReadOne(const std::string& path);

  const std::vector<std::string> directories_;
  std::mutex mutex_;  // guards cache_
  std::map<std::string, FilePtr> cache_;
};

// What a container asks for: the field, then the annotations cdi.k8s.io/* ("vendor.com/class=name,…"), each device
// once. kInvalidArgument naming field or annotation.
Result<std::vector<std::string>> CdiRequests(const ContainerSpec& spec);

// Makes the edits. Device nodes are looked up on the host. kInvalidArgument naming the path of a device that is not
// there. Mounts are sorted again, parents first. Groups go to process.user.additional_gids, which SetUser keeps.
Status ApplyCdi(const CdiPlan& plan, oci::RuntimeSpec& spec);

}  // namespace davit::container
