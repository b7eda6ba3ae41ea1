// Volumes: named directories that outlive the containers that mount them.
//
//   <root>/volumes/<name>/volume.json   its record (docs/formats/volumes.md)
//   <root>/volumes/<name>/_data/        what containers see; of a tmpfs volume where that is mounted
//   <root>/volumes/.davit-tmp-<random>/ one in the making: renamed to its name once it is whole
//
// A volume that is removed is renamed into the trash, record and all: SIGKILL leaves it whole or gone. A record that
// cannot be read costs its own volume, which stays on the disk as it is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/layers.h"
#include "store/trash.h"

namespace davit::store {

inline constexpr uint32_t kVolumeVersion = 1;
inline constexpr size_t kMaxVolumes = 16'384;

struct VolumeRecord {
  uint32_t version = kVolumeVersion;
  std::string name;
  std::string driver = "local";
  std::map<std::string, std::string> labels;
  // type: "tmpfs", or "none" and "bind" with a directory of the node as `device`; o: as mount(8) takes them. Without a
  // type only uid= and gid=, of the directory. Others are refused.
  std::map<std::string, std::string> options;
  int64_t created_at = 0;  // wall nanoseconds
  bool anonymous = false;
  bool fresh = true;  // no container has mounted it
};

// [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 255 bytes.
bool IsVolumeName(std::string_view name);

// What its options say of its mount. kInvalidArgument naming the option.
struct VolumeMount {
  std::string bind;  // a directory of the node instead of its own; empty: none
  bool tmpfs = false;
  bool read_only = false;
  std::string data;             // of the tmpfs
  unsigned long flags = 0;      // MS_*
  std::optional<uint32_t> uid;  // of its own directory
  std::optional<uint32_t> gid;
};
Result<VolumeMount> ParseVolumeOptions(const std::map<std::string, std::string>& options);

// While it lives, its volumes are not removed: until a record names them. Movable; must not outlive the Volumes.
class VolumeHold {
 public:
  VolumeHold() = default;
  VolumeHold(VolumeHold&&) noexcept = default;
  VolumeHold& operator=(VolumeHold&&) noexcept = default;
  ~VolumeHold() = default;

 private:
  friend class Volumes;
  explicit VolumeHold(std::shared_ptr<void> hold) : hold_(std::move(hold)) {}
  std::shared_ptr<void> hold_;
};

// Thread-safe. Find and List answer from memory and never wait.
class Volumes {
 public:
  // Whether a container's record names a volume: memory only, and it must not call this class.
  using InUse = std::function<bool(const std::string& name)>;

  // Reads what is there. `trash` outlives this.
  static Result<std::unique_ptr<Volumes>> Open(const std::string& root, Trash& trash, InUse in_use);
  ~Volumes();

  // An empty name becomes 64 hexadecimal digits. `created_at` is filled in. False: one with an equal request is there.
  //   kInvalidArgument: name, driver, label or option; kAlreadyExists: there with others; kResourceExhausted: a cap
  Result<std::pair<VolumeRecord, bool>> Create(VolumeRecord request);
  // kNotFound naming it.
  [[nodiscard]] Result<VolumeRecord> Find(const std::string& name) const;
  [[nodiscard]] std::vector<VolumeRecord> List() const;  // by name
  // kFailedPrecondition: held or in use; kNotFound.
  Status Remove(const std::string& name);
  [[nodiscard]] VolumeHold Hold(const std::string& name);

  // Where it is seen: <root>/volumes/<name>/_data.
  [[nodiscard]] std::string Mountpoint(const std::string& name) const;
  // What a container is to mount; a tmpfs is mounted when it is not. kFailedPrecondition: its directory of the node is
  // not there; kNotFound.
  struct Attached {
    std::string path;
    bool read_only = false;
  };
  Result<Attached> Attach(const std::string& name);
  // Takes the tmpfs away that neither a record nor a hold names.
  Status Collect();

  // An empty volume gets its first content: `fill` is called with an empty directory, which then is the volume's, whole
  // or not at all where it is a directory of Davit's own. One that has content, or is a directory of the node, stays as
  // it is. Two containers that want to fill one volume wait for each other.
  Status Fill(const std::string& name, const std::function<Status(const std::string& directory)>& fill);

  // Reads the disk. kNotFound.
  Result<DiskUsage> Usage(const std::string& name) const;

  // Volumes whose records could not be read, for people.
  [[nodiscard]] const std::vector<std::string>& unreadable() const;

 private:
  struct State;
  explicit Volumes(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::store
