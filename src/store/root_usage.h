// RootUsage: whose each byte below <root> is. Layers are not walked: the store knows what they take.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/layers.h"

namespace davit::store {

enum class Owner {
  kDatabase,     // davit.db, its log and lock
  kContent,      // manifests, configs, signatures
  kStaging,      // layers that are being unpacked; the name of the directory
  kContainer,    // what a container wrote; its id
  kVolume,       // a named volume; its name
  kRecords,      // copies of records, and the lists of layers that were verified
  kQuarantine,   // what was set aside as damaged or unknown; the name of the directory
  kTrash,        // being deleted
  kDirectories,  // the root's own directories
  kUnknown,      // not Davit's, or of something that it has forgotten; the path below the root
};
// "database", "content", ...
const char* OwnerName(Owner owner);

struct OwnedBytes {
  Owner owner = Owner::kUnknown;
  std::string name;  // empty: the owner is the only one of its kind
  DiskUsage disk;
  bool lower_bound = false;  // not walked to its end, or not all of it can be counted
};

// A walk over the root in steps. What comes and goes meanwhile may be counted or not. Not thread-safe.
class RootWalk {
 public:
  // `layers`: the hexadecimal names of the layers that the store knows.
  static Result<RootWalk> Begin(const std::string& root, const std::vector<std::string>& layers);
  RootWalk(RootWalk&&) noexcept;
  RootWalk& operator=(RootWalk&&) noexcept;
  ~RootWalk();

  // Looks at about `max` entries more; true when all is walked.
  bool Step(size_t max);
  // So far; what has not been reached yet is there, with nothing and as a lower bound.
  [[nodiscard]] const std::vector<OwnedBytes>& parts() const;

 private:
  struct State;
  explicit RootWalk(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::store
