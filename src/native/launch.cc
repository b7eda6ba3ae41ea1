#include "native/launch.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace davit::native {

Result<Created> Clone(const CloneRequest& request, const std::function<void()>& body) {
  bool sibling = (request.flags & CLONE_PARENT) != 0;
  int pidfd = -1;
  clone_args arguments = {};
  arguments.flags = request.flags;
  if (!sibling) {
    arguments.flags |= CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;  // with CLONE_PARENT it is that of this process
  }
  if (request.cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(request.cgroup);
  }
  // Not fork(3): its handlers are for programs with threads.
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) {
    body();
    ::_exit(1);
  }
  if (pid < 0 && (errno == ENOSPC || errno == EUSERS)) {
    return ResourceExhausted("clone: the node allows no more namespaces of a kind, or none as deep");
  }
  if (pid < 0) return ErrnoError(errno, "clone");
  return Created{static_cast<pid_t>(pid), sys::UniqueFd(pidfd)};
}

Status EnterCgroups(const CgroupEntry& entry) {
  for (int fd : entry.v1_tasks) {
    if (::write(fd, "0", 1) != 1) return ErrnoError(errno, "enter a cgroup (version 1)");
  }
  return {};
}

Result<sys::UniqueFd> OpenPidfd(pid_t pid) {
  sys::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return ErrnoError(errno, "pidfd_open " + std::to_string(pid));
  return fd;
}

void KillAndReap(pid_t pid) {
  if (pid <= 0) return;
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace davit::native
