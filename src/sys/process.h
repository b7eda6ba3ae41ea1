// Child processes: spawn with an explicit descriptor list, pidfds, whole commands with capped output.
//
// Descriptors: a child gets exactly what SpawnOptions names; everything else is close-on-exec and,
// belt and braces, closed with close_range(2) (CVE-2024-21626 class).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

// The PATH that is meant where the environment has none.
inline constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// How a process ended. `code` is the exit status, or 128 + signal as shells and CRI count.
struct ExitStatus {
  int code = 0;
  int signal = 0;  // 0 unless killed by one
};

// A pidfd (pidfd_open(2)): signals and waits without the races of bare pids.
class PidFd {
 public:
  PidFd() = default;
  // kNotFound when there is no such process.
  static Result<PidFd> Open(pid_t pid);

  [[nodiscard]] bool valid() const { return fd_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }  // readable (poll) when the process has ended
  [[nodiscard]] pid_t pid() const { return pid_; }

  // pidfd_send_signal(2); OK when the process is already gone.
  Status Signal(int signal) const;
  // True when it ended in time; works for processes that are not children.
  [[nodiscard]] bool WaitEnded(Deadline deadline) const;
  // waitid(P_PIDFD): reaps; only for children (or orphans that a subreaper adopted).
  Result<ExitStatus> Reap(Deadline deadline) const;

 private:
  PidFd(pid_t pid, UniqueFd fd) : pid_(pid), fd_(std::move(fd)) {}
  pid_t pid_ = -1;
  UniqueFd fd_;
  friend struct SpawnAccess;
};

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0] is a path, or a name looked up in the caller's PATH
  std::vector<std::string> env;   // "K=V"; the child's whole environment
  std::string cwd;                // empty: the caller's
  // {fd of the parent, number in the child}. Numbers 0 to 2 that are not named are /dev/null.
  std::vector<std::pair<int, int>> fds;
  bool new_session = false;       // setsid(2)
  int death_signal = 0;           // PR_SET_PDEATHSIG; mind: it follows the *thread* that spawned
  int netns_fd = -1;              // setns(2) before exec, when >= 0
  uint64_t descriptor_limit = 0;  // RLIMIT_NOFILE, soft; 0: the caller's
  std::string program = {};       // executed in place of argv[0], which is then only the name that it gets
  int oom_score_adj = 1001;       // written to /proc/self/oom_score_adj when <= 1000; a refusal is ignored
};

// Starts the process. The error names argv[0]: kNotFound when it is not there, kPermissionDenied when
// it cannot be executed. Uses vfork semantics, so its cost does not grow with the caller's memory.
Result<PidFd> Spawn(const SpawnOptions& options);

struct CommandResult {
  ExitStatus exit;
  std::string out;  // at most max_output bytes; the rest is read and dropped
  std::string err;
};

// Runs to the end with `input` on stdin. On the deadline the process group is killed and the result is
// kDeadlineExceeded naming argv[0]. options.fds must not name 0 to 2.
Result<CommandResult> RunCommand(SpawnOptions options, std::string_view input, size_t max_output, Deadline deadline);

// The caller's PATH, HOME and nothing else: what helpers and runtimes get.
std::vector<std::string> MinimalEnvironment();

// RLIMIT_NOFILE: the soft limit up to the hard one. `before` is for what is started from here and expects the usual one
// (select(2) ends at 1024).
struct DescriptorLimit {
  uint64_t before = 0;
  uint64_t now = 0;
};
Result<DescriptorLimit> RaiseDescriptorLimit();

// PR_SET_CHILD_SUBREAPER: orphans of our children become ours to reap. PID 1 of some machines reaps
// only every few seconds.
Status BecomeSubreaper();

// Reaps the orphans that ended: they are children of the process's main thread (the kernel gives a
// subreaper's orphans to its first living thread), while what other threads spawned is theirs to Reap
// (wait(2), __WNOTHREAD). So: on the main thread only, and that thread must have no spawned child of its
// own outstanding. Returns how many.
size_t ReapOrphans();

// Field 22 of /proc/<pid>/stat, in clock ticks since boot: with the pid it names a process for ever.
Result<uint64_t> ProcessStartTime(pid_t pid);

}  // namespace davit::sys
