// TreeHelper: one `davit-pull --tree` process, which looks into a container or writes there, and its pipes
// (image/tree_messages.h). davitd reads no tar and touches no file of a container itself: what hangs there costs a
// process, which is killed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "image/tree_messages.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::engine {

// For one thread. Destroying it ends the process and reaps it. Errors are the helper's, else kDeadlineExceeded.
class TreeHelper {
 public:
  // `root`: a descriptor of the container's root, or -1 where the job says where that is.
  static Result<std::unique_ptr<TreeHelper>> Start(const std::string& program, const image::TreeJob& job, int root);
  ~TreeHelper();
  TreeHelper(const TreeHelper&) = delete;
  TreeHelper& operator=(const TreeHelper&) = delete;

  // The first report.
  Result<image::TreeStat> Stat(Deadline deadline);
  // The next piece of the tar; empty at its end.
  Result<std::string> Read(Deadline deadline);
  // All of it; false when the helper takes no more: Finish says why.
  Result<bool> Write(std::string_view bytes, Deadline deadline);
  void EndInput() { input_.reset(); }
  // Its last word. Call it after the end of the tar.
  Status Finish(Deadline deadline);

 private:
  TreeHelper() = default;
  Result<image::TreeReport> Report(Deadline deadline);

  sys::PidFd process_;
  sys::UniqueFd input_;  // a socket, so that writing to a dead helper is an error and no signal
  sys::UniqueFd output_;
  sys::UniqueFd reports_;
  std::string buffer_;
  std::string piece_;
};

}  // namespace davit::engine
