// ContainerChanges: what differs between a container and its image, as docker diff tells it: from the upper directory
// of its overlay and the directories of its layers.
//
// The container may change the upper directory meanwhile: it is walked by descriptor, following nothing.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::engine {

enum class ChangeKind : uint32_t { kModified = 0, kAdded = 1, kDeleted = 2 };  // Docker's numbers

struct Change {
  std::string path;  // absolute
  ChangeKind kind = ChangeKind::kModified;
  friend bool operator==(const Change&, const Change&) = default;
};

struct ContainerChanges {
  std::vector<Change> changes;  // by path; the directories above a change are modified
  bool truncated = false;       // there are more
};

struct ChangesInput {
  std::string upper;
  std::vector<std::string> layers;     // topmost first
  uint32_t host_root = 0;              // of a user namespace: owners in `upper` are that many higher
  std::set<std::string> mount_points;  // what the runtime has made for them is no change: without a leading "/"
  size_t max = 200'000;
};

// kNotFound: there is no upper directory; kDeadlineExceeded.
Result<ContainerChanges> ListChanges(const ChangesInput& input, Deadline deadline);

}  // namespace davit::engine
