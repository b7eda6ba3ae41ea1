// ContainerRecord: everything about one container that must outlive davitd. It is written before the
// first resource is made (phase kCreating) and erased after the last one is gone; recovery needs
// nothing else. Kept as JSON in store::Database, kind "container" (docs/formats/pod-and-container-records.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "container/spec.h"

namespace davit::container {

enum class Phase {
  kCreating = 0,  // intent: resources may exist; recovery removes them
  kCreated = 1,
  kRunning = 2,
  kExited = 3,
  kRemoving = 4,  // intent: resources are going; recovery finishes
  kDefined = 5,   // standalone, and never started: nothing but the record
};

// Of a standalone container: what outlives one run of it.
struct StandaloneState {
  uint32_t restarts = 0;
  bool stopped = false;     // by a client: its restart policy rests
  bool restarting = false;  // its policy starts it again, later
  bool paused = false;
  std::string error;  // why the last start failed
};

// An image mounted as a volume: held like the image of the rootfs.
struct ImageVolume {
  std::string image_id;
  std::vector<std::string> layers;  // diff IDs, bottom first
};

// Records of the kubelet's containers are of version 1: an earlier davitd reads them.
inline constexpr uint32_t kContainerRecordVersion = 2;

struct ContainerRecord {
  uint32_t version = 1;  // 2: standalone
  ContainerId id;
  PodId pod;
  Phase phase = Phase::kCreating;
  std::string boot_id;  // of /proc/sys/kernel/random/boot_id: another boot means nothing of it runs
  ContainerSpec spec;

  std::string image_id;                              // "sha256:…"
  std::string image_ref;                             // "repository@sha256:…"; empty: no such name, the id stands in
  std::string image_name;                            // for people, "repository:tag"; empty: as it was asked for
  std::vector<std::string> layers;                   // diff IDs, bottom first: what its rootfs holds on to
  std::map<std::string, ImageVolume> image_volumes;  // by the index in spec.mounts, as text
  std::string runtime_handler;
  std::string cgroup;    // path in every hierarchy
  std::string log_path;  // absolute; empty: output is discarded

  std::optional<sys::Resources> pending_resources;  // an update under way: recovery finishes it

  uint32_t host_root = 0;  // the node's id of its root; not 0 in a user namespace
  int64_t uid = 0;         // the first process's user, as resolved
  int64_t gid = 0;
  std::vector<int64_t> groups;  // supplementary, the primary one included

  int64_t created_at = 0;  // wall nanoseconds, as all times here
  int64_t started_at = 0;
  int64_t finished_at = 0;
  int64_t pid = 0;  // in the node's PID namespace; 0 when there is none
  int exit_code = 0;
  std::string reason;  // "Completed", "Error", "OOMKilled": strings that the kubelet knows
  std::string message;

  StandaloneState standalone;
};

std::string ToText(const ContainerRecord& record);
// The request alone: equal texts are equal requests.
std::string ToText(const ContainerSpec& spec);
std::string ToText(const sys::Resources& resources);
// kDataLoss when the text is no record or of a newer version.
Result<ContainerRecord> ParseContainerRecord(std::string_view text);

}  // namespace davit::container
