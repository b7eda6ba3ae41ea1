// The pod metrics of KEP-2371: cAdvisor's names, types and labels, so that what reads the kubelet's
// /metrics/cadvisor finds the same series when the kubelet asks its runtime instead of cAdvisor.
//
// One table in the .cc makes both the descriptors and the samples. Every series has the labels container, id
// (the cgroup), image, name (the container's or pod's id), namespace and pod; a pod's own series have an empty
// container and image, as cAdvisor's series of a pod's cgroup do. Values are whole numbers (CRI has no other),
// so seconds are cut, not rounded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cri {

namespace v1 = ::runtime::v1;

// Where the writable layers are.
struct Filesystem {
  std::string device;
  uint64_t capacity_bytes = 0;  // 0: not known, and then none of these is reported
  uint64_t inodes_total = 0;
  uint64_t inodes_free = 0;
};
Filesystem FilesystemOf(engine::Engine& engine);

std::vector<v1::MetricDescriptor> MetricDescriptors();
v1::PodSandboxMetrics ToPodSandboxMetrics(const engine::PodNumbers& numbers, const Filesystem& filesystem);

}  // namespace davit::cri
