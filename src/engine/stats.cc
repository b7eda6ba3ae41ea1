// Numbers about running containers.

#include "base/time.h"
#include "engine/state.h"

namespace davit::engine {

void Engine::Stats(std::vector<ContainerPtr> containers, Done<std::vector<ContainerStats>> done) {
  State* state = state_.get();
  state->exec_pool.Post([state, containers = std::move(containers), done = std::move(done)] {
    std::vector<ContainerStats> all;
    all.reserve(containers.size());
    for (const ContainerPtr& record : containers) {
      ContainerStats stats;
      stats.record = record;
      stats.cgroup.timestamp = WallNanos();
      // A container that ends meanwhile has no cgroup any more: it is listed without numbers.
      if (Result<sys::CgroupStats> read = sys::ReadCgroupStats(state->cgroups, record->cgroup); read.ok()) {
        stats.cgroup = *read;
      }
      if (Result<store::WritableUsage> usage = state->rootfs->Usage(record->id); usage.ok()) {
        stats.writable_bytes = static_cast<int64_t>(usage->disk.bytes);
        stats.writable_inodes = static_cast<int64_t>(usage->disk.inodes);
        stats.writable_measured_at = WallNanos();
      }
      all.push_back(std::move(stats));
    }
    done(std::move(all));
  });
}

}  // namespace davit::engine
