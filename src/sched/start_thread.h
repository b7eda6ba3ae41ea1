// StartThread: std::thread whose failure is a value. The constructor's exception, where nobody catches it, ends the
// process with an abort; and a node that is out of threads is one where people look for reasons.
#pragma once

#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/result.h"

namespace davit::sched {

// kResourceExhausted when there is no thread to be had (pids.max of the cgroup, kernel.threads-max, address space).
inline Result<std::thread> StartThread(std::function<void()> work) {
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error& error) {
    return ResourceExhausted(std::string("start thread: ") + error.what());
  }
}

}  // namespace davit::sched
