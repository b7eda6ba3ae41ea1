// LayerMounts: the filesystems of file layers, each mounted once for all containers that use it.
//
//   <state>/layers/<hex of the key>/    the squashfs of that layer, read-only, on a loop device that clears itself
//
// The directory is made before the mount and removed after it, so that the next start finds by its name what a killed
// davitd has left. An overlay keeps a filesystem in use by itself: a mount that is taken away too early (by a hand)
// harms no running container.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "oci/digest.h"
#include "store/layers.h"

namespace davit::store {

class LayerMounts;

// Keeps the mounts of some layers until a record names them. Must not outlive the LayerMounts. Movable.
class MountLease {
 public:
  MountLease() = default;
  MountLease(MountLease&& other) noexcept : mounts_(other.mounts_), names_(std::move(other.names_)) {
    other.mounts_ = nullptr;
  }
  MountLease& operator=(MountLease&& other) noexcept {
    std::swap(mounts_, other.mounts_);
    std::swap(names_, other.names_);
    return *this;
  }
  ~MountLease();

 private:
  friend class LayerMounts;
  LayerMounts* mounts_ = nullptr;
  std::vector<std::string> names_;
};

// Thread-safe.
class LayerMounts {
 public:
  // Whether a container's record names a layer ("sha256:…"): memory only, and it must not call this class.
  using InUse = std::function<bool(const std::string& key)>;

  // `layers` outlives this; <state>/layers is made (0700).
  static Result<std::unique_ptr<LayerMounts>> Open(const std::string& state, const LayerDriver& layers, InUse in_use);

  // The lowerdir of a layer: its directory, or where its filesystem is mounted; mounts it when it is not. The lease
  // keeps it mounted. kNotFound: no such layer; kFailedPrecondition: its file is gone or not the one that was pulled,
  // or the node cannot mount it.
  Result<std::string> Path(const oci::Digest& key, MountLease& lease);

  // Takes away the mounts that neither a record nor a lease names: after a container is gone, and at the start. Never
  // waits for a mount that somebody holds.
  Status Collect();

  // For tests and statistics: keys' hex of what is mounted.
  Result<std::vector<std::string>> Mounted() const;

 private:
  friend class MountLease;
  LayerMounts(std::string directory, const LayerDriver& layers, InUse in_use)
      : directory_(std::move(directory)), layers_(layers), in_use_(std::move(in_use)) {}
  Status MountNow(const Layer& layer, const std::string& target);
  void Release(const std::vector<std::string>& names);

  const std::string directory_;
  const LayerDriver& layers_;
  const InUse in_use_;
  mutable std::mutex mutex_;              // held over mounts: they come one at a time
  std::map<std::string, size_t> leases_;  // by hex
};

}  // namespace davit::store
