// LinkRemovals takes interfaces out of network namespaces without waiting for the kernel, which needs tens of
// milliseconds of grace period for a pair of veth links. When Remove() returns the interface has no address any more,
// so that the next pod can have it; the links go a little later, on a thread that is thrown away.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>

#include "base/result.h"

namespace davit::network {

class LinkRemovals {
 public:
  LinkRemovals() = default;
  LinkRemovals(const LinkRemovals&) = delete;
  LinkRemovals& operator=(const LinkRemovals&) = delete;
  ~LinkRemovals() { Settle(); }

  // Of the namespace pinned at `netns`. OK when there is no such link.
  Status Remove(const std::string& netns, const std::string& interface);
  // Waits until every link that was to be removed is gone.
  void Settle();

 private:
  void Done();

  std::mutex mutex_;
  std::condition_variable fewer_;
  int running_ = 0;
};

}  // namespace davit::network
