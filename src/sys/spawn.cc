// Spawn: vfork semantics by clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD).
//
// The child runs on a stack of its own in the parent's memory until exec, with all signals blocked and
// the calling thread stopped. Everything it needs is laid out before; it allocates nothing, takes no
// lock and calls only what is async-signal-safe (signal-safety(7)). An error comes back as plain
// memory. Under sanitizers, whose runtimes do not survive a shared address space, it is fork(2) and
// the error comes through a pipe.

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>

#include "base/strings.h"
#include "sys/process.h"

namespace davit::sys {

struct SpawnAccess {
  static PidFd Make(pid_t pid, UniqueFd fd) { return PidFd(pid, std::move(fd)); }
};

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(DAVIT_TSAN)
constexpr bool kShareMemory = false;
#elif defined(__has_feature)  // clang says it this way
constexpr bool kShareMemory = !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
constexpr bool kShareMemory = true;
#endif

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kGuardBytes = 64 * 1024;  // as large as the largest page size

enum class Step : int { kNone, kDeathSignal, kParentGone, kNetns, kFds, kCwd, kExec };

struct ChildError {
  Step step = Step::kNone;
  int err = 0;
};

struct FdMove {
  int from;  // descriptor of the parent; -1: /dev/null
  int to;
  int parked;  // where the child holds it between the two rounds of dup
};

// What the child needs, all of it made by the parent.
struct ChildPlan {
  std::string program;
  std::vector<char*> argv;
  std::vector<char*> env;
  std::string cwd;
  std::vector<FdMove> moves;  // sorted by `to`; always holds 0 to 2
  std::string oom_score_adj;
  uint64_t descriptor_limit = 0;
  bool new_session = false;
  int death_signal = 0;
  int netns_fd = -1;
  pid_t parent = -1;
  int error_pipe = -1;  // only without shared memory
  ChildError error;
};

// Two rounds, because a target number may be the source of another: first every source is duplicated
// above all targets, then each goes to its place.
int PlaceFds(ChildPlan& plan) {
  int null_fd = -1;
  int above = plan.moves.back().to + 1;
  for (FdMove& move : plan.moves) {
    int from = move.from;
    if (from < 0) {
      if (null_fd < 0) null_fd = ::open("/dev/null", O_RDWR);
      from = null_fd;
    }
    move.parked = from < 0 ? -1 : ::fcntl(from, F_DUPFD, above);
    if (move.parked < 0) return errno;
  }
  if (plan.error_pipe >= 0) {
    int parked = ::fcntl(plan.error_pipe, F_DUPFD_CLOEXEC, above);
    if (parked < 0) return errno;
    plan.error_pipe = parked;
  }
  for (const FdMove& move : plan.moves) {
    if (::dup2(move.parked, move.to) < 0) return errno;
  }
  // The gaps between the wanted numbers and all above. The pipe must live until exec, hence the flag.
  constexpr unsigned kCloseOnExec = 1U << 2;  // CLOSE_RANGE_CLOEXEC
  unsigned flags = plan.error_pipe >= 0 ? kCloseOnExec : 0;
  unsigned next = 0;
  for (const FdMove& move : plan.moves) {
    unsigned wanted = static_cast<unsigned>(move.to);
    if (next < wanted && ::syscall(SYS_close_range, next, wanted - 1, flags) != 0) return errno;
    next = wanted + 1;
  }
  return ::syscall(SYS_close_range, next, ~0U, flags) == 0 ? 0 : errno;
}

// Handlers would run in the parent's memory, and ignored signals (SIGPIPE) would stay ignored in the
// program. Runs while all signals are blocked.
void ResetSignalHandlers() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &action, nullptr);
}

void WriteOomScoreAdj(const std::string& value) {
  int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (::write(fd, value.data(), value.size()) < 0) {
    // Lowering needs CAP_SYS_RESOURCE: the child then keeps what it inherits.
  }
  ::close(fd);
}

ChildError RunChild(ChildPlan& plan) {
  ResetSignalHandlers();
  if (plan.death_signal != 0) {
    if (::prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(plan.death_signal), 0UL, 0UL, 0UL) != 0) {
      return {Step::kDeathSignal, errno};
    }
    if (::getppid() != plan.parent) return {Step::kParentGone, ESRCH};  // it died before the prctl
  }
  if (plan.new_session) ::setsid();
  if (plan.descriptor_limit > 0) {
    rlimit limit = {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
      limit.rlim_cur = std::min<rlim_t>(plan.descriptor_limit, limit.rlim_max);
      ::setrlimit(RLIMIT_NOFILE, &limit);  // lowering a soft limit is never refused
    }
  }
  if (!plan.oom_score_adj.empty()) WriteOomScoreAdj(plan.oom_score_adj);
  if (plan.netns_fd >= 0 && ::setns(plan.netns_fd, CLONE_NEWNET) != 0) return {Step::kNetns, errno};
  if (int err = PlaceFds(plan); err != 0) return {Step::kFds, err};
  if (!plan.cwd.empty() && ::chdir(plan.cwd.c_str()) != 0) return {Step::kCwd, errno};
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(plan.program.c_str(), plan.argv.data(), plan.env.data());
  return {Step::kExec, errno};
}

int ChildMain(void* argument) {
  ChildPlan& plan = *static_cast<ChildPlan*>(argument);
  ChildError error = RunChild(plan);
  plan.error = error;
  if (plan.error_pipe >= 0 && ::write(plan.error_pipe, &error, sizeof error) < 0) ::_exit(126);
  ::_exit(127);
}

// All signals, those of the C library's own too, for the calling thread.
class SignalBlock {
 public:
  SignalBlock() {
    uint64_t all = ~uint64_t{0};
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before_, sizeof before_);
  }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;
  ~SignalBlock() { ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_); }

 private:
  uint64_t before_ = 0;
};

class ChildStack {
 public:
  static Result<ChildStack> Make() {
    void* base = ::mmap(nullptr, kGuardBytes + kStackBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (base == MAP_FAILED) return ErrnoError(errno, "map stack");
    ChildStack stack(static_cast<char*>(base));
    if (::mprotect(stack.base_ + kGuardBytes, kStackBytes, PROT_READ | PROT_WRITE) != 0) {
      return ErrnoError(errno, "map stack");
    }
    return stack;
  }
  ChildStack(ChildStack&& other) noexcept : base_(std::exchange(other.base_, nullptr)) {}
  ChildStack& operator=(ChildStack&&) = delete;
  ~ChildStack() {
    if (base_ != nullptr) ::munmap(base_, kGuardBytes + kStackBytes);
  }
  [[nodiscard]] void* top() const { return base_ + kGuardBytes + kStackBytes; }

 private:
  explicit ChildStack(char* base) : base_(base) {}
  char* base_;
};

struct Child {
  pid_t pid = -1;
  UniqueFd pidfd;
};

Result<Child> CloneSharingMemory(ChildPlan& plan) {
  ASSIGN_OR_RETURN(ChildStack stack, ChildStack::Make());
  Child child;
  int pidfd = -1;
  int err = 0;
  {
    SignalBlock block;
    child.pid = ::clone(ChildMain, stack.top(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
    err = errno;
  }
  if (child.pid < 0) return ErrnoError(err, "clone");
  child.pidfd.reset(pidfd);
  return child;
}

Result<Child> ForkWithPipe(ChildPlan& plan) {
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  plan.error_pipe = pipe.write.get();
  Child child;
  int err = 0;
  {
    SignalBlock block;
    child.pid = ::fork();
    if (child.pid == 0) ChildMain(&plan);
    err = errno;
  }
  if (child.pid < 0) return ErrnoError(err, "fork");
  child.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  err = errno;
  pipe.write.reset();
  ssize_t n = 0;
  while ((n = ::read(pipe.read.get(), &plan.error, sizeof plan.error)) < 0 && errno == EINTR) {
  }
  if (n != sizeof plan.error) plan.error = {};
  if (!child.pidfd.valid()) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return ErrnoError(err, "open pidfd");
  }
  return child;
}

Status DescribeError(const ChildError& error, const SpawnOptions& options) {
  switch (error.step) {
    case Step::kNone:
      return {};
    case Step::kDeathSignal:
      return ErrnoError(error.err, "set death signal");
    case Step::kParentGone:
      return Internal("the parent died");
    case Step::kNetns:
      return ErrnoError(error.err, "join network namespace");
    case Step::kFds:
      return ErrnoError(error.err, "place descriptors");
    case Step::kCwd:
      return ErrnoError(error.err, "change directory to " + options.cwd);
    case Step::kExec:
      return ErrnoError(error.err, "exec");
  }
  return Internal("unknown step");
}

// execvp's search, done before the clone: the first file on the PATH that may be executed.
Result<std::string> FindProgram(const std::string& name) {
  if (name.empty()) return InvalidArgument("argv[0] is empty");
  if (name.find('/') != std::string::npos) return name;
  const char* path = ::getenv("PATH");
  bool refused = false;
  for (const std::string& directory : Split(path != nullptr && *path != '\0' ? path : kDefaultPath, ':')) {
    if (directory.empty() || directory[0] != '/') continue;  // never from the current directory
    std::string candidate = directory + "/" + name;
    struct stat st;
    if (::stat(candidate.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    refused = true;
  }
  if (refused) return PermissionDenied("not executable");
  return NotFound("not on the PATH");
}

Status PlanFds(const SpawnOptions& options, ChildPlan& plan) {
  for (const auto& [from, to] : options.fds) {
    if (from < 0 || to < 0) return InvalidArgument("descriptor " + std::to_string(from) + " as " + std::to_string(to));
    plan.moves.push_back({from, to, -1});
  }
  auto less = [](const FdMove& a, const FdMove& b) { return a.to < b.to; };
  auto same = [](const FdMove& a, const FdMove& b) { return a.to == b.to; };
  for (int standard = 0; standard <= 2; ++standard) {
    auto named = [standard](const FdMove& move) { return move.to == standard; };
    if (std::none_of(plan.moves.begin(), plan.moves.end(), named)) plan.moves.push_back({-1, standard, -1});
  }
  std::sort(plan.moves.begin(), plan.moves.end(), less);
  auto twice = std::adjacent_find(plan.moves.begin(), plan.moves.end(), same);
  if (twice != plan.moves.end()) return InvalidArgument("descriptor " + std::to_string(twice->to) + " is named twice");
  return {};
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

Status CheckNoNul(const std::vector<std::string>& texts, const char* what) {
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) return InvalidArgument(std::string(what) + " has a NUL byte");
  }
  return {};
}

Result<ChildPlan> MakePlan(const SpawnOptions& options) {
  ChildPlan plan;
  RETURN_IF_ERROR(CheckNoNul(options.argv, "argument"));
  RETURN_IF_ERROR(CheckNoNul(options.env, "environment"));
  RETURN_IF_ERROR(CheckNoNul({options.cwd}, "directory"));
  ASSIGN_OR_RETURN(plan.program, FindProgram(options.program.empty() ? options.argv[0] : options.program));
  plan.argv = Pointers(options.argv);
  plan.env = Pointers(options.env);
  plan.cwd = options.cwd;
  RETURN_IF_ERROR(PlanFds(options, plan));
  if (options.oom_score_adj <= 1000) plan.oom_score_adj = std::to_string(options.oom_score_adj);
  plan.new_session = options.new_session;
  plan.descriptor_limit = options.descriptor_limit;
  plan.death_signal = options.death_signal;
  plan.netns_fd = options.netns_fd;
  plan.parent = ::getpid();
  return plan;
}

}  // namespace

Result<PidFd> Spawn(const SpawnOptions& options) {
  if (options.argv.empty()) return InvalidArgument("spawn: argv is empty");
  const std::string intent = "run " + options.argv[0];
  ASSIGN_OR_RETURN_WITH(ChildPlan plan, MakePlan(options), intent);
  Result<Child> child = kShareMemory ? CloneSharingMemory(plan) : ForkWithPipe(plan);
  if (!child.ok()) return child.status().Annotate(intent);
  PidFd process = SpawnAccess::Make(child->pid, std::move(child->pidfd));
  if (plan.error.step != Step::kNone) {
    IgnoreError(process.Reap(Deadline::Infinite()).status());  // it has called _exit
    return DescribeError(plan.error, options).Annotate(intent);
  }
  return process;
}

}  // namespace davit::sys
