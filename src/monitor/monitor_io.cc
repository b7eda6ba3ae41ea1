// The monitor's output path: container -> log file and attached clients.
#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "monitor/monitor_internal.h"

namespace davit::monitor {
namespace {

constexpr int64_t kHungUpMs = 500;
constexpr int64_t kDrainMs = 200;

}  // namespace

void Monitor::OnOutput(Pump& pump, uint32_t) { ReadOutput(pump); }

// One read. False when there is nothing more for now, or for ever.
bool Monitor::ReadOutput(Pump& pump) {
  if (!pump.watch.open() || log_->blocked()) return false;
  ssize_t n = ::read(pump.watch.fd(), scratch_.data(), scratch_.capacity());
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  scratch_dirty_ = true;
  if (n > 0) {
    std::string_view data(scratch_.data(), static_cast<size_t>(n));
    log_->Add(pump.stream, data);
    for (auto& connection : connections_) {
      if (connection->attach) connection->attach->Deliver(pump.stream, data);
    }
    return true;
  }
  if (n < 0 && errno == EIO && options_.terminal && !init_reaped_) {
    // Nobody has the terminal open at this moment (tty_ioctl(4), hangup); a process may open it again.
    pump.hung_up = true;
    pump.hung_up_until = SteadyMs() + kHungUpMs;
    return false;
  }
  CloseOutput(pump);
  return false;
}

void Monitor::CloseOutput(Pump& pump) {
  pump.watch.Close();
  pump.hung_up = false;
  if (log_->blocked()) {
    pump.finish_wanted = true;
  } else {
    log_->Finish(pump.stream, 'F');
  }
}

void Monitor::DrainOutput() {
  int64_t end = SteadyMs() + kDrainMs;
  for (auto& pump : pumps_) {
    while (pump && ReadOutput(*pump) && SteadyMs() < end) {
    }
  }
}

bool Monitor::outputs_closed() const {
  return std::all_of(std::begin(pumps_), std::end(pumps_),
                     [](const auto& pump) { return !pump || (!pump->watch.open() && !pump->finish_wanted); });
}

void Monitor::UpdateInterest() {
  // Before the create is over the pipe of stderr may hold the runtime's own error, which FailCreate reads.
  bool want = phase_ != Phase::kCreating && log_ && !log_->blocked();
  for (auto& connection : connections_) {
    if (!connection->attach) continue;
    connection->attach->UpdateInterest();
    want = want && !connection->attach->full();
  }
  for (auto& pump : pumps_) {
    if (!pump) continue;
    if (pump->hung_up && SteadyMs() >= pump->hung_up_until) pump->hung_up = false;
    pump->watch.Set(want && !pump->hung_up ? static_cast<uint32_t>(EPOLLIN) : 0U);
  }
}

void Monitor::ReleaseMemory() {
  if (!scratch_dirty_) return;
  scratch_dirty_ = false;
  scratch_.Release();
  if (log_) log_->ReleaseMemory();
  ::malloc_trim(0);
}

}  // namespace davit::monitor
