#include "base/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace davit {
namespace {

struct FaultPlan {
  std::string kill;
  unsigned kill_at_hit = 1;
  std::string trace;
  mutable std::atomic<unsigned> hits{0};
  bool active = false;

  FaultPlan() {
    if (const char* name = ::getenv("DAVIT_FAULT_KILL")) kill = name;
    if (size_t hash = kill.find('#'); hash != std::string::npos) {
      kill_at_hit = static_cast<unsigned>(std::strtoul(kill.c_str() + hash + 1, nullptr, 10));
      kill.resize(hash);
    }
    if (const char* file = ::getenv("DAVIT_FAULT_TRACE")) trace = file;
    active = !kill.empty() || !trace.empty();
  }
};

void Append(const std::string& file, std::string_view step) {
  int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  std::string line(step);
  line += '\n';
  [[maybe_unused]] ssize_t n = ::write(fd, line.data(), line.size());
  ::close(fd);
}

}  // namespace

void FaultPoint(std::string_view step) {
  static const FaultPlan plan;  // read once: the environment does not change under us
  if (!plan.active) return;
  if (!plan.trace.empty()) Append(plan.trace, step);
  if (plan.kill == step && ++plan.hits == plan.kill_at_hit) {
    ::kill(::getpid(), SIGKILL);
    ::pause();  // the signal may take another thread's time slice to arrive
  }
}

}  // namespace davit
