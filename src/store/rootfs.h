// Rootfs: the root filesystem of each container, an overlay of image layers under a writable directory.
//
//   <root>/containers/<id>/upper/     what the container wrote (owner and mode of the image's own "/")
//   <root>/containers/<id>/work/      overlayfs' own
//   <root>/containers/<id>/empty/     the lowerdir of an image without layers
//   <root>/containers/<id>/volumes/   the container's other files (container/declared_volumes.h)
//   <root>/containers/<id>/output.log of standalone containers
//
// Mounted "volatile": unmounting does not sync, because a container's files die with it. Every call is
// idempotent and needs the id alone, so recovery repeats it from the container's record, which the
// caller writes before the first call.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/layers.h"
#include "store/trash.h"
#include "sys/user_namespace.h"

namespace davit::store {

struct RootfsMount {
  std::vector<std::string> layers;  // lowerdirs, topmost first; may be empty (an image from scratch)
  std::string target;               // absolute; created (0755) when it is not there
  // An overlay without a writable directory. Mind that OCI runtimes create mount points in the rootfs
  // (/proc, /etc/hosts): a CRI container with a read-only root wants a writable overlay here and
  // root.readonly in its OCI spec.
  bool read_only = false;
  std::string context;  // SELinux label of every file in it; empty: each file's own
  // A pinned user namespace: the layers are id-mapped through it (`ids` is its map, for users and groups
  // alike). The writable directory then holds the node's ids. Empty: none.
  std::string user_namespace;
  sys::IdRange ids;
};

struct WritableUsage {
  DiskUsage disk;           // allocated bytes (st_blocks), inodes; a hard-linked file counts once
  bool truncated = false;   // a lower bound: the true numbers are larger
  bool unfinished = false;  // and so only until Usage was called often enough to walk all of it
  std::chrono::steady_clock::time_point measured_at;
  int64_t wall_nanos = 0;  // the same instant, for clients
};

struct RootfsOptions {
  std::chrono::seconds usage_max_age{10};
  size_t usage_max_entries = 200'000;  // of one call, about a quarter of a second
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// Thread-safe for different containers; calls about one container come one at a time (its strand),
// except WritableUsage, which may come at any time.
class Rootfs {
 public:
  // Creates <root>/containers (0700). `trash` outlives this.
  static Result<std::unique_ptr<Rootfs>> Open(const std::string& root, Trash& trash, RootfsOptions options = {});
  ~Rootfs();

  // OK when this container's overlay is mounted at the target already. A writable directory from an
  // earlier mount is used again. kFailedPrecondition: something else is mounted at the target;
  // kNotFound naming a layer that is not there; kInvalidArgument: too many layers, relative target.
  Status Mount(const ContainerId& id, const RootfsMount& mount);
  // Unmounts and keeps the writable directory. OK when nothing is mounted there.
  Status Unmount(const ContainerId& id, const std::string& target);
  // The writable directory to the trash; unmount first. OK when there is none.
  Status RemoveWritable(const ContainerId& id);

  // At most usage_max_age old; walks a piece of the directory on the caller's thread when the last answer is
  // older and nobody else is walking it. `unfinished`: call again, to go on where this one stopped. Until then
  // the numbers are those of the last whole walk, if they are larger. kNotFound when the container has none.
  Result<WritableUsage> Usage(const ContainerId& id);
  // The last answer, however old, without looking at the disk; nullopt before the first.
  [[nodiscard]] std::optional<WritableUsage> LastUsage(const ContainerId& id) const;
  // The sum of the last answers.
  [[nodiscard]] DiskUsage LastUsageOfAll() const;

  // What the container wrote, in overlayfs' form (see layers.h): for diff, commit and checkpoint.
  [[nodiscard]] std::string UpperDir(const ContainerId& id) const;
  // A directory for what else belongs to the container and goes with its writable layer; the caller makes it
  // after Mount.
  [[nodiscard]] std::string VolumesDir(const ContainerId& id) const;
  // For the output of a container that nobody gave a log of its own; goes with its writable layer too.
  [[nodiscard]] std::string LogPath(const ContainerId& id) const;
  // Containers with a writable directory, recorded or not: recovery removes those nobody knows.
  Result<std::vector<ContainerId>> List() const;

 private:
  struct State;
  explicit Rootfs(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::store
