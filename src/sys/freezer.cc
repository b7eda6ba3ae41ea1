#include "sys/freezer.h"

#include <time.h>

#include <algorithm>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxFileBytes = 1 << 16;
// Freezing again after so many looks: on version 1 a fork at the wrong moment leaves the cgroup FREEZING for ever, and
// the state has to be written once more.
constexpr int kLooksEach = 10;

struct Freezer {
  bool v1 = false;
  std::string directory;
};

Result<Freezer> Find(const CgroupLayout& layout, const std::string& cgroup) {
  ASSIGN_OR_RETURN(std::string clean, CleanCgroupPath(cgroup));
  if (clean.empty()) return InvalidArgument("cgroup \"/\" is the root");
  if (std::optional<std::string> v1 = layout.V1MountPoint("freezer")) return Freezer{true, *v1 + clean};
  if (layout.unified_mount_point().empty()) return Unimplemented("the node has no cgroup freezer");
  return Freezer{false, layout.unified_mount_point() + clean};
}

// The last word of the line that begins with `key`.
std::string Value(const std::string& text, const std::string& key) {
  for (const std::string& line : Split(text, '\n')) {
    if (line.starts_with(key + " ")) return std::string(Trim(std::string_view(line).substr(key.size())));
  }
  return {};
}

Status Ask(const Freezer& freezer, bool frozen) {
  if (freezer.v1) return WriteValue(freezer.directory + "/freezer.state", frozen ? "FROZEN" : "THAWED");
  return WriteValue(freezer.directory + "/cgroup.freeze", frozen ? "1" : "0");
}

// Whether it is there.
Result<bool> Reached(const Freezer& freezer, bool frozen) {
  if (freezer.v1) {
    ASSIGN_OR_RETURN(std::string state, ReadFile(freezer.directory + "/freezer.state", kMaxFileBytes));
    // What stands above may be frozen, which is not ours to thaw.
    if (!frozen) {
      ASSIGN_OR_RETURN(std::string self, ReadFile(freezer.directory + "/freezer.self_freezing", kMaxFileBytes));
      return Trim(self) == "0";
    }
    return Trim(state) == "FROZEN";
  }
  if (!frozen) {
    ASSIGN_OR_RETURN(std::string self, ReadFile(freezer.directory + "/cgroup.freeze", kMaxFileBytes));
    return Trim(self) == "0";
  }
  ASSIGN_OR_RETURN(std::string events, ReadFile(freezer.directory + "/cgroup.events", kMaxFileBytes));
  return Value(events, "frozen") == "1";
}

Status Reach(const Freezer& freezer, bool frozen, Deadline deadline) {
  RETURN_IF_ERROR(Ask(freezer, frozen));
  long millis = 1;
  for (int look = 1;; ++look) {
    ASSIGN_OR_RETURN(bool reached, Reached(freezer, frozen));
    if (reached) return {};
    if (deadline.expired()) {
      return DeadlineExceeded(frozen ? "a process does not stop: it may be stuck in the kernel" : "it does not go on");
    }
    // Version 1 has no event for it, and a freeze takes a millisecond or two.
    timespec time = {0, millis * 1000000L};
    ::nanosleep(&time, nullptr);
    millis = std::min(millis * 2, 20L);
    if (freezer.v1 && look % kLooksEach == 0) {
      if (frozen) RETURN_IF_ERROR(Ask(freezer, false));
      RETURN_IF_ERROR(Ask(freezer, frozen));
    }
  }
}

}  // namespace

Status FreezeCgroup(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline) {
  const std::string intent = "freeze cgroup " + Printable(cgroup);
  ASSIGN_OR_RETURN_WITH(Freezer freezer, Find(layout, cgroup), intent);
  Status frozen = Reach(freezer, true, deadline);
  if (frozen.ok()) return frozen;
  if (frozen.code() != StatusCode::kNotFound) frozen = frozen.WithUndoError(Ask(freezer, false));
  return frozen.Annotate(intent);
}

Status ThawCgroup(const CgroupLayout& layout, const std::string& cgroup, Deadline deadline) {
  const std::string intent = "thaw cgroup " + Printable(cgroup);
  Result<Freezer> freezer = Find(layout, cgroup);
  if (freezer.code() == StatusCode::kUnimplemented) return {};
  if (!freezer.ok()) return freezer.status().Annotate(intent);
  Status thawed = Reach(*freezer, false, deadline);
  if (thawed.code() == StatusCode::kNotFound) return {};
  return thawed.Annotate(intent);
}

Result<bool> IsCgroupFrozen(const CgroupLayout& layout, const std::string& cgroup) {
  ASSIGN_OR_RETURN(Freezer freezer, Find(layout, cgroup));
  const char* file = freezer.v1 ? "/freezer.self_freezing" : "/cgroup.freeze";
  ASSIGN_OR_RETURN(std::string self, ReadFile(freezer.directory + file, kMaxFileBytes));
  return Trim(self) == "1";
}

}  // namespace davit::sys
