// ApiListener: the unix socket of the API, accepted by davitd itself.
//
// gRPC 1.51's own listener gives up for ever at the first accept(2) that fails for want of a descriptor, and removes
// whatever socket is at its path when it ends. This one refuses such a connection and goes on, and removes its own.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::cmd {

class ApiListener {
 public:
  // Listens at `path` (mode 0660); `adopt` gets each connection, on a thread of this object. kFailedPrecondition: a
  // process answers there already, or what is there is no socket. A socket that does not answer is replaced.
  static Result<std::unique_ptr<ApiListener>> Start(const std::string& path, std::function<void(sys::UniqueFd)> adopt);
  // What Start would say of the path, before anything else is begun.
  static Status CheckFree(const std::string& path);
  // Accepts no more, and removes the socket unless it is another's by now.
  ~ApiListener();

 private:
  ApiListener(std::string path, std::function<void(sys::UniqueFd)> adopt)
      : path_(std::move(path)), adopt_(std::move(adopt)) {}
  void Accept();

  const std::string path_;
  const std::function<void(sys::UniqueFd)> adopt_;
  sys::UniqueFd listener_;
  sys::UniqueFd reserve_;  // closed to have a descriptor for the connection that is refused
  std::chrono::steady_clock::time_point said_{};
  dev_t device_ = 0;  // of the socket's file
  ino_t inode_ = 0;
  std::unique_ptr<sched::EventLoop> loop_;
  sched::EventLoop::Token watch_ = 0;
};

}  // namespace davit::cmd
