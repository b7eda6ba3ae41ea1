#include "sys/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/strings.h"

namespace davit::sys {

Result<PidFd> PidFd::Open(pid_t pid) {
  int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd >= 0) return PidFd(pid, UniqueFd(fd));
  std::string what = "open pidfd of " + std::to_string(pid);
  if (errno == ESRCH) return NotFound(what + ": no such process");
  return ErrnoError(errno, what);
}

Status PidFd::Signal(int signal) const {
  if (::syscall(SYS_pidfd_send_signal, fd_.get(), signal, nullptr, 0) == 0 || errno == ESRCH) return {};
  return ErrnoError(errno, "send signal " + std::to_string(signal) + " to process " + std::to_string(pid_));
}

bool PidFd::WaitEnded(Deadline deadline) const {
  for (;;) {
    pollfd p = {fd_.get(), POLLIN, 0};
    int n = ::poll(&p, 1, deadline.PollTimeoutMs());
    if (n > 0) return (p.revents & POLLIN) != 0;
    if (n == 0) return false;
    if (errno != EINTR) return false;
  }
}

Result<ExitStatus> PidFd::Reap(Deadline deadline) const {
  std::string what = "wait for process " + std::to_string(pid_);
  if (!WaitEnded(deadline)) return DeadlineExceeded(what + ": it is still running");
  siginfo_t info = {};
  while (::waitid(P_PIDFD, static_cast<id_t>(fd_.get()), &info, WEXITED) != 0) {
    if (errno == EINTR) continue;
    if (errno == ECHILD) return FailedPrecondition(what + ": no child of ours, or reaped before");
    return ErrnoError(errno, what);
  }
  if (info.si_code == CLD_EXITED) return ExitStatus{info.si_status, 0};
  return ExitStatus{128 + info.si_status, info.si_status};
}

std::vector<std::string> MinimalEnvironment() {
  std::vector<std::string> env;
  const char* path = ::getenv("PATH");
  env.push_back(std::string("PATH=") + (path != nullptr && *path != '\0' ? path : kDefaultPath));
  if (const char* home = ::getenv("HOME"); home != nullptr) env.push_back(std::string("HOME=") + home);
  return env;
}

Result<DescriptorLimit> RaiseDescriptorLimit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoError(errno, "read the limit of descriptors");
  const uint64_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoError(errno, "raise the limit of descriptors");
  return DescriptorLimit{before, limit.rlim_cur};
}

Status BecomeSubreaper() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) != 0) return ErrnoError(errno, "become child subreaper");
  return {};
}

size_t ReapOrphans() {
  constexpr int kNoThread = 0x20000000;  // __WNOTHREAD of <linux/wait.h>
  size_t reaped = 0;
  int status = 0;
  while (::waitpid(-1, &status, WNOHANG | kNoThread) > 0) ++reaped;
  return reaped;
}

Result<uint64_t> ProcessStartTime(pid_t pid) {
  constexpr size_t kMaxStat = 8192;
  std::string path = "/proc/" + std::to_string(pid) + "/stat";
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "open " + path);
  Result<std::string> text = ReadAll(fd.get(), kMaxStat);
  // read(2) answers ESRCH when the process went away after the open.
  if (!text.ok()) return NotFound("read " + path + ": no such process");
  // The command name may hold blanks and parentheses, so the fields count from the last ')'.
  size_t paren = text->rfind(')');
  if (paren != std::string::npos) {
    std::vector<std::string> fields = Split(Trim(std::string_view(*text).substr(paren + 1)), ' ');
    constexpr size_t kStartTime = 22 - 3;  // the first one after the name is field 3
    if (fields.size() > kStartTime) {
      if (auto ticks = ParseUint64(fields[kStartTime])) return *ticks;
    }
  }
  return Internal("read " + path + ": malformed");
}

}  // namespace davit::sys
