#include "engine/pod_interfaces.h"

namespace davit::engine {

Result<PodInterfaces::Counters> PodInterfaces::Find(const PodId& pod, const std::string& netns_path,
                                                    const std::function<bool()>& keep) {
  {
    std::lock_guard lock(mutex_);
    auto found = open_.find(pod);
    if (found != open_.end()) return found->second;
  }
  ASSIGN_OR_RETURN(sys::InterfaceCounters opened, sys::InterfaceCounters::Open(netns_path));
  auto counters = std::make_shared<const sys::InterfaceCounters>(std::move(opened));
  std::lock_guard lock(mutex_);
  if (open_.size() < max_open_ && keep()) open_.emplace(pod, counters);
  return counters;
}

Result<std::vector<sys::InterfaceUse>> PodInterfaces::Read(const PodId& pod, const std::string& netns_path,
                                                           const std::function<bool()>& keep) {
  ASSIGN_OR_RETURN(Counters counters, Find(pod, netns_path, keep));
  ASSIGN_OR_RETURN(std::vector<sys::InterfaceUse> all, counters->Read());
  std::erase_if(all, [](const sys::InterfaceUse& one) { return one.name == "lo"; });
  return all;
}

void PodInterfaces::Drop(const PodId& pod) {
  Counters closing;  // outlives the lock
  std::lock_guard lock(mutex_);
  auto found = open_.find(pod);
  if (found == open_.end()) return;
  closing = std::move(found->second);
  open_.erase(found);
}

size_t PodInterfaces::open() const {
  std::lock_guard lock(mutex_);
  return open_.size();
}

}  // namespace davit::engine
