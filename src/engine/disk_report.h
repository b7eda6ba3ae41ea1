// DiskReport: whose each byte of the store is, what is shared, and what can be freed (`davit df`).
//
// Made from what is known already: records, snapshots, and the last walk over the root. Walks go on at idle priority,
// one at a time, when somebody has asked and the last one is older than ten seconds; nobody waits for one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/snapshot.h"
#include "image/images.h"
#include "sched/idle_worker.h"
#include "store/layers.h"
#include "store/root_usage.h"

namespace davit::engine {

struct DiskReport {
  struct Image {
    std::string id;
    std::vector<std::string> names;  // tags, else digests
    uint64_t bytes = 0;              // of its layers
    uint64_t shared_bytes = 0;       // of those that other images have, too
    uint64_t reclaimable_bytes = 0;  // what its removal frees
    uint32_t containers = 0;
    bool pinned = false;
  };
  struct Layer {
    std::string id;
    store::DiskUsage disk;
    std::vector<std::string> images;      // ids
    std::vector<std::string> containers;  // ids
  };
  struct Container {
    std::string id;
    std::string name;
    std::string pod_namespace;
    std::string pod_name;
    bool exited = false;
    store::DiskUsage disk;  // what it wrote, its volumes and the overlay's own
    bool lower_bound = false;
  };
  struct Part {
    std::string owner;  // store::OwnerName
    std::string name;
    store::DiskUsage disk;
    bool lower_bound = false;
  };
  // Sorted by size, the largest first.
  std::vector<Image> images;
  std::vector<Layer> layers;
  std::vector<Container> containers;
  std::vector<Part> parts;  // everything else
  uint64_t accounted_bytes = 0;
  // The trash, layers that neither a container nor a pinned image needs, what exited containers wrote.
  uint64_t reclaimable_bytes = 0;
  bool lower_bound = false;  // of both
  // The filesystem of the root, as statvfs(3) has it.
  uint64_t filesystem_bytes = 0;
  uint64_t filesystem_used = 0;
  uint64_t filesystem_available = 0;
  uint64_t filesystem_inodes = 0;
  uint64_t filesystem_inodes_free = 0;
  std::string mount_point;
  int64_t measured_at = 0;  // end of the last whole walk, wall nanoseconds; 0: none yet
  bool measuring = false;   // a walk goes on
};

// Without the filesystem's numbers. `last_usage`: of a writable layer that the walk has not reached.
DiskReport MakeDiskReport(const std::vector<image::ImageRecord>& images, const std::vector<store::Layer>& layers,
                          const Snapshot& view, const std::vector<store::OwnedBytes>& parts,
                          const std::function<std::optional<store::DiskUsage>(const ContainerId&)>& last_usage);

// The walks. Thread-safe.
class DiskMeasure {
 public:
  // `layers`: the names of the known ones, called on the walking thread.
  DiskMeasure(std::string root, std::function<std::vector<std::string>()> layers)
      : root_(std::move(root)), layers_(std::move(layers)) {}

  struct Last {
    std::vector<store::OwnedBytes> parts;  // of the last whole walk, or of the first as far as it is
    int64_t measured_at = 0;
    bool measuring = false;
  };
  // At once; begins a walk where the last one is too old.
  Last Read();

 private:
  void Walk(sched::IdleWorker::Pace& pace);

  const std::string root_;
  const std::function<std::vector<std::string>()> layers_;
  std::mutex mutex_;
  Last last_;
  std::chrono::steady_clock::time_point ended_;
  sched::IdleWorker worker_{"davit-disk"};  // last: ends before what its task uses
};

}  // namespace davit::engine
