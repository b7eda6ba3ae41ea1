// PodInterfaces: the open counters of each running pod's network namespace, so that the statistics of many
// pods cost one system call each. A descriptor keeps its namespace alive: Drop() comes before the pod's
// namespaces go, and after a restart of davitd they are opened again at the first question.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sys/interface_counters.h"

namespace davit::engine {

class PodInterfaces {
 public:
  // At most `max_open` descriptors are kept; counters of more pods are opened for each question.
  explicit PodInterfaces(size_t max_open) : max_open_(max_open) {}

  // Without "lo". `keep` is asked under the lock that Drop() takes whether the pod is still up: whoever stops
  // a pod first makes that false, then calls Drop(), and nothing stays open. Any thread.
  Result<std::vector<sys::InterfaceUse>> Read(const PodId& pod, const std::string& netns_path,
                                              const std::function<bool()>& keep);
  void Drop(const PodId& pod);

  [[nodiscard]] size_t open() const;

 private:
  using Counters = std::shared_ptr<const sys::InterfaceCounters>;
  Result<Counters> Find(const PodId& pod, const std::string& netns_path, const std::function<bool()>& keep);

  const size_t max_open_;
  mutable std::mutex mutex_;  // held for memory only
  std::map<PodId, Counters> open_;
};

}  // namespace davit::engine
