// FakeBackend: runs the commands of execs as children of the test itself, over real pipes or a real
// pseudo-terminal, and connects port-forwards to this machine's loopback. For tests.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stream/backend.h"

namespace davit::stream {

class FakeBackend final : public Backend {
 public:
  Result<std::unique_ptr<Process>> OpenExec(const ExecRequest& request) override;
  // Runs `attach_command`, as if it were the container's first process.
  Result<std::unique_ptr<Process>> OpenAttach(const AttachRequest& request) override;
  Result<sys::UniqueFd> OpenPort(const PodId& pod, int port) override;

  std::optional<Status> fail_open;
  std::vector<std::string> attach_command = {"/bin/cat"};
  std::atomic<int> opened = 0;
  std::atomic<int> released = 0;  // Processes destroyed
  std::atomic<int> killed = 0;    // of these, before their end

  std::vector<std::pair<int, int>> Sizes();  // what Resize was called with
  void AddSize(int width, int height);

 private:
  std::mutex mutex_;
  std::vector<std::pair<int, int>> sizes_;
};

}  // namespace davit::stream
