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

// Output in bulk (measured with 200 MB of 100-byte lines; CPU of the monitor, wall time):
// a writer of single lines 0.65 s, 1.5 s without and 0.16 s, 0.9 s with both of these.
constexpr size_t kBusyPipeBytes = 256 * 1024;  // so that writer and monitor need not alternate
constexpr int64_t kQuickUs = 300;              // reads this close to each other are one burst
constexpr int kQuickReads = 4;                 // so many before it counts as one
constexpr size_t kLargeRead = 16 * 1024;
constexpr size_t kPauseBytesPerUs = 512;  // a pause per pipe size: no writer fills it that fast in small pieces

}  // namespace

void Monitor::OnOutput(Pump& pump, uint32_t) {
  size_t bytes = ReadOutput(pump);
  if (bytes > 0) Pace(pump, bytes);
}

// Lets a burst of small writes add up in the pipe: else each of them wakes the monitor, which takes more
// CPU from the container than the copying does.
void Monitor::Pace(Pump& pump, size_t bytes) {
  if (bytes >= kLargeRead) large_read_ms_ = SteadyMs();
  if (pump.pipe_bytes == 0) return;  // a terminal holds too little for this
  int64_t now = SteadyMicros();
  pump.quick_reads = now - pump.read_at_us < kQuickUs ? pump.quick_reads + 1 : 0;
  pump.read_at_us = now;
  bool burst = pump.quick_reads >= kQuickReads;
  if (!burst && bytes < kLargeRead) return;
  if (!pump.grown && pump.watch.open()) {
    pump.grown = true;
    large_read_ms_ = SteadyMs();
    // Refused above the user's share of pipe memory (pipe(7)): then the pauses stay short.
    int size = ::fcntl(pump.watch.fd(), F_SETPIPE_SZ, static_cast<int>(kBusyPipeBytes));
    if (size > 0) pump.pipe_bytes = static_cast<size_t>(size);
  }
  if (!burst || bytes >= pump.pipe_bytes / 2) return;
  ::usleep(static_cast<useconds_t>(pump.pipe_bytes / kPauseBytesPerUs));
  pump.read_at_us = SteadyMicros();
}

// One read. 0 when there is nothing more for now, or for ever.
size_t Monitor::ReadOutput(Pump& pump) {
  if (!pump.watch.open() || log_->blocked()) return 0;
  ssize_t n = ::read(pump.watch.fd(), scratch_.data(), scratch_.capacity());
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  scratch_dirty_ = true;
  if (n > 0) {
    std::string_view data(scratch_.data(), static_cast<size_t>(n));
    log_->Add(pump.stream, data);
    for (auto& connection : connections_) {
      if (connection->attach) connection->attach->Deliver(pump.stream, data);
    }
    return data.size();
  }
  if (n < 0 && errno == EIO && options_.terminal && !init_reaped_) {
    // Nobody has the terminal open at this moment (tty_ioctl(4), hangup); a process may open it again.
    pump.hung_up = true;
    pump.hung_up_until = SteadyMs() + kHungUpMs;
    return 0;
  }
  CloseOutput(pump);
  return 0;
}

void Monitor::CloseOutput(Pump& pump) {
  pump.watch.Close();
  pump.hung_up = false;
  if (log_->blocked()) {
    pump.finish_wanted = true;
  } else {
    log_->Finish(pump.stream);
  }
}

void Monitor::DrainOutput() {
  int64_t end = SteadyMs() + kDrainMs;
  for (auto& pump : pumps_) {
    while (pump && ReadOutput(*pump) > 0 && SteadyMs() < end) {
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

// Also under output that trickles on after a burst.
bool Monitor::memory_due() const { return large_read_ms_ != 0 && SteadyMs() - large_read_ms_ >= limits_.quiet_ms; }

void Monitor::ReleaseMemory() {
  if (!scratch_dirty_) return;
  scratch_dirty_ = false;
  large_read_ms_ = 0;
  for (auto& pump : pumps_) {
    if (!pump || !pump->grown || !pump->watch.open()) continue;
    pump->grown = false;
    // Refused while more than that waits in it (the log is blocked, or a client slow): after the next burst.
    int size = ::fcntl(pump->watch.fd(), F_SETPIPE_SZ, static_cast<int>(kDefaultPipeBytes));
    if (size > 0) pump->pipe_bytes = static_cast<size_t>(size);
  }
  scratch_.Release();
  if (log_) log_->ReleaseMemory();
  ::malloc_trim(0);
}

}  // namespace davit::monitor
