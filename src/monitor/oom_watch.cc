#include "monitor/oom_watch.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <csignal>
#include <string_view>
#include <utility>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::monitor {
namespace {

constexpr std::string_view kEventsName = "/memory.events";

// The same file of the cgroup above; empty where there is none with counters of the whole tree.
std::string FileAbove(std::string_view file) {
  if (file.size() <= kEventsName.size() || file.substr(file.size() - kEventsName.size()) != kEventsName) return "";
  std::string_view cgroup = file.substr(0, file.size() - kEventsName.size());
  return std::string(cgroup.substr(0, cgroup.rfind('/'))) + std::string(kEventsName);
}

}  // namespace

void OomWatch::Open(const std::string& file) {
  Result<sys::UniqueFd> own = sys::Open(file, O_RDONLY);
  if (!own.ok()) return;
  own_.Open(std::move(*own));
  if (std::string above = FileAbove(file); !above.empty()) {
    if (Result<sys::UniqueFd> pod = sys::Open(above, O_RDONLY); pod.ok()) pod_.Open(std::move(*pod));
  }
  Read();
  before_ = last_;
  // Each change is read when it comes. Version 1 tells of none, and nobody removes its cgroups behind our back.
  own_.Set(EPOLLPRI);
  pod_.Set(EPOLLPRI);
}

std::optional<OomWatch::Counts> OomWatch::ReadCounts(const PolledFd& file) {
  char text[512];  // some ten lines
  ssize_t size = file.open() ? ::pread(file.fd(), text, sizeof(text), 0) : 0;
  if (size <= 0) return std::nullopt;
  Counts counts;
  for (const std::string& line : Split(std::string_view(text, static_cast<size_t>(size)), '\n')) {
    size_t blank = line.find(' ');
    if (blank == std::string::npos) continue;
    uint64_t value = ParseUint64(std::string_view(line).substr(blank + 1)).value_or(0);
    std::string_view name = std::string_view(line).substr(0, blank);
    if (name == "oom") counts.ooms = value;
    if (name == "oom_kill") counts.kills = value;
  }
  return counts;
}

bool OomWatch::Read() {
  // The pod's first: a kill between the two is then seen in the container's own, and not lost in the pod's.
  std::optional<Counts> pod = ReadCounts(pod_);
  std::optional<Counts> own = ReadCounts(own_);
  if (!own) return false;
  last_ = *own;
  if (pod) pod_last_ = *pod;
  return true;
}

void OomWatch::OnReady(uint32_t) {
  if (Read()) return;
  // Gone: it would stay ready for ever, and what the pod counts from here on is compared at the end.
  own_.Set(0);
  pod_.Set(0);
}

bool OomWatch::Killed(int code) const {
  if (!own_.open()) return false;
  if (std::optional<Counts> now = ReadCounts(own_)) return now->kills > before_.kills;
  if (last_.kills > before_.kills) return true;
  if (code != 128 + SIGKILL) return false;
  if (last_.ooms > before_.ooms) return true;
  std::optional<Counts> pod = ReadCounts(pod_);
  return pod && pod->kills > pod_last_.kills;
}

}  // namespace davit::monitor
