// PodRecord: everything about one pod sandbox that must outlive davitd. Written before the first resource
// is made (phase kCreating), erased after the last one is gone. Kept as JSON in store::Database, kind
// "pod" (docs/formats/pod-and-container-records.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "pod/spec.h"

namespace davit::pod {

enum class Phase {
  kCreating = 0,  // intent: resources may exist; recovery removes them
  kReady = 1,
  kStopping = 2,  // intent: containers, network and namespaces are going; recovery finishes
  kNotReady = 3,
  kRemoving = 4,  // intent: recovery finishes
  kDefined = 5,   // standalone, and never started: nothing but the record
};

// Records of the kubelet's pods are of version 2: an earlier davitd reads them.
inline constexpr uint32_t kPodRecordVersion = 3;

// An interface of a standalone pod, as it is.
struct AttachedEndpoint {
  std::string network;
  std::string interface;
  std::vector<std::string> ip_cidrs;
  std::string gateway;
  std::string mac_address;
  std::vector<std::string> aliases;
  bool dns = false;
};

struct PodRecord {
  uint32_t version = 2;  // 3: standalone
  PodId id;
  Phase phase = Phase::kCreating;
  std::string boot_id;  // another boot: no namespace or process of it is left, but address leases may be
  PodSpec spec;
  std::string runtime_handler;  // resolved: never empty
  int64_t created_at = 0;       // wall nanoseconds
  int64_t started_at = 0;       // standalone: the last start; 0: never
  std::string hostname;         // resolved
  std::string cgroup;           // path in every hierarchy
  bool owns_cgroup = false;     // was not there before: goes with the pod
  std::string inspect_cgroup;   // an empty one that stands for the pod in cAdvisor's eyes; empty: none

  // network::Attachment as text; empty: the node's network, or taken away. A pod that is kNotReady and
  // still has one owes a DEL that failed.
  std::string attachment;
  std::vector<std::string> ips;  // primary first
  // Of a standalone pod, for readers: what the attachment says.
  std::vector<AttachedEndpoint> endpoints;
  std::vector<PortMapping> ports;  // those that are published, with the host ports that were chosen
  bool resolver = false;           // its names are answered inside of it (network/name_server.h)

  std::optional<sys::Resources> pending_resources;  // an update under way: recovery finishes it
  std::optional<sys::Resources> pending_overhead;

  int64_t init_pid = 0;          // of the shared PID namespace's init; 0: none
  uint64_t init_start_time = 0;  // with the pid it names a process (sys::ProcessStartTime)

  std::string selinux_level;        // "s0:c1,c2", of no other pod; empty: SELinux is off
  std::string selinux_mount_label;  // of what the pod itself mounts, at selinux_level; empty: none
  int64_t shm_bytes = 0;            // size of /dev/shm; 0: the default
};

std::string ToText(const PodRecord& record);
// The request alone: equal texts are equal requests.
std::string ToText(const PodSpec& spec);
std::string ToText(const sys::Resources& resources);
// Also of version 1, as a record of this one. kDataLoss when the text is no record or of a newer version.
Result<PodRecord> ParsePodRecord(std::string_view text);

}  // namespace davit::pod
