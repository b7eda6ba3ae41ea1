// PullHelper: one davit-pull process and its pipes, seen from davitd.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "image/pull_messages.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::image {

// Not thread-safe. Destroying it ends the process (SIGKILL) and reaps it.
class PullHelper {
 public:
  static Result<std::unique_ptr<PullHelper>> Start(const std::string& path, const PullJob& job);
  ~PullHelper();
  PullHelper(const PullHelper&) = delete;
  PullHelper& operator=(const PullHelper&) = delete;

  Status Send(const PullCommand& command);

  enum class Wake { kEvent, kCancelled, kNotified, kDeadline };
  // Waits until the helper says something (then Take), one of the two descriptors is readable, or the
  // deadline. -1: no descriptor. When the process has ended without a last word the error tells how.
  Result<Wake> Wait(int cancel_fd, int notify_fd, Deadline deadline);
  // After kEvent.
  Result<PullEvent> Take();

  // After the finish command: waits for its end.
  Status Finish(Deadline deadline);

 private:
  PullHelper() = default;
  Result<bool> ReadOutput();  // false: end of file
  void ReadErrors();
  Status Ended();

  sys::PidFd process_;
  sys::UniqueFd to_;  // a socket, so that writing to a dead helper is an error and no signal
  sys::UniqueFd from_;
  sys::UniqueFd errors_;
  std::string buffer_;
  std::deque<std::string> lines_;
  std::string last_words_;  // tail of stderr
  bool reaped_ = false;
};

}  // namespace davit::image
