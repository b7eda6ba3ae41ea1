// RunCommand: one poll loop over the child's pipes and its pidfd.

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "sys/process.h"

namespace davit::sys {
namespace {

// How long output is still collected when the process has ended but something it left behind (a
// daemon, a container's first process) holds the pipe open.
constexpr std::chrono::milliseconds kDrainTime{100};

// Keeps a write to a closed pipe from raising SIGPIPE in this thread, whatever the program does with
// that signal; a SIGPIPE of our own making is taken back.
class SigpipeBlock {
 public:
  SigpipeBlock() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  SigpipeBlock(const SigpipeBlock&) = delete;
  SigpipeBlock& operator=(const SigpipeBlock&) = delete;
  ~SigpipeBlock() {
    if (!was_pending_) {
      timespec now = {};
      while (::sigtimedwait(&set_, nullptr, &now) < 0 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t set_;
  sigset_t before_;
  bool was_pending_ = false;
};

struct Stdio {
  UniqueFd in;
  UniqueFd out;
  UniqueFd err;
};

class Pump {
 public:
  Pump(const PidFd& process, Stdio stdio, std::string_view input, size_t max_output)
      : process_(process), stdio_(std::move(stdio)), input_(input), max_output_(max_output) {}

  // True when the process ended by the deadline.
  bool Run(Deadline deadline) {
    bool ended = false;
    Deadline limit = deadline;
    for (;;) {
      if (ended && !stdio_.out.valid() && !stdio_.err.valid()) return true;
      std::array<pollfd, 4> fds = {{{ended ? -1 : process_.fd(), POLLIN, 0},
                                    {stdio_.in.get(), POLLOUT, 0},
                                    {stdio_.out.get(), POLLIN, 0},
                                    {stdio_.err.get(), POLLIN, 0}}};
      int n = ::poll(fds.data(), fds.size(), limit.PollTimeoutMs());
      if (n < 0 && errno != EINTR) return ended;
      if (n == 0 || limit.expired()) return ended;
      if (n < 0) continue;
      if (fds[1].revents != 0) WriteSome();
      if (fds[2].revents != 0) ReadSome(stdio_.out, out);
      if (fds[3].revents != 0) ReadSome(stdio_.err, err);
      if (fds[0].revents != 0) {
        ended = true;
        stdio_.in.reset();
        limit = Deadline::After(kDrainTime).Min(deadline);
      }
    }
  }

  std::string out;
  std::string err;

 private:
  void WriteSome() {
    ssize_t n = ::write(stdio_.in.get(), input_.data(), input_.size());
    if (n > 0) input_.remove_prefix(static_cast<size_t>(n));
    bool again = n < 0 && (errno == EINTR || errno == EAGAIN);
    if (input_.empty() || (n < 0 && !again)) stdio_.in.reset();
  }

  void ReadSome(UniqueFd& fd, std::string& text) const {
    char buffer[16 * 1024];
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) {
      fd.reset();
      return;
    }
    size_t room = max_output_ - text.size();
    text.append(buffer, std::min(static_cast<size_t>(n), room));
  }

  const PidFd& process_;  // the caller's
  Stdio stdio_;
  std::string_view input_;  // the caller's
  size_t max_output_;
};

}  // namespace

Result<CommandResult> RunCommand(SpawnOptions options, std::string_view input, size_t max_output, Deadline deadline) {
  if (options.argv.empty()) return InvalidArgument("run command: argv is empty");
  const std::string name = options.argv[0];
  for (const auto& fd : options.fds) {
    if (fd.second <= 2) return InvalidArgument("run " + name + ": descriptors 0 to 2 are the command's pipes");
  }
  Pipe in;
  if (!input.empty()) {
    ASSIGN_OR_RETURN_WITH(in, MakePipe(), "run " + name);
    RETURN_IF_ERROR(SetNonBlocking(in.write.get(), true));
    options.fds.emplace_back(in.read.get(), 0);
  }
  ASSIGN_OR_RETURN_WITH(Pipe out, MakePipe(), "run " + name);
  ASSIGN_OR_RETURN_WITH(Pipe err, MakePipe(), "run " + name);
  options.fds.emplace_back(out.write.get(), 1);
  options.fds.emplace_back(err.write.get(), 2);
  options.new_session = true;  // its pid is then its process group too
  ASSIGN_OR_RETURN(PidFd process, Spawn(options));
  in.read.reset();
  out.write.reset();
  err.write.reset();

  SigpipeBlock no_sigpipe;
  Pump pump(process, Stdio{std::move(in.write), std::move(out.read), std::move(err.read)}, input, max_output);
  bool ended = pump.Run(deadline);
  if (!ended) {
    // Not yet reaped, so the group's number cannot be anybody else's.
    ::kill(-process.pid(), SIGKILL);
    IgnoreError(process.Signal(SIGKILL));
    IgnoreError(process.Reap(Deadline::Infinite()).status());  // SIGKILL leaves no other end
    return DeadlineExceeded("run " + name + ": still running at the deadline, killed");
  }
  ASSIGN_OR_RETURN_WITH(ExitStatus exit, process.Reap(Deadline::Infinite()), "run " + name);
  return CommandResult{exit, std::move(pump.out), std::move(pump.err)};
}

}  // namespace davit::sys
