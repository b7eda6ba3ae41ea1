#include "pod/init_process.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "sys/systemd_bus.h"

namespace davit::pod {
namespace {

constexpr size_t kMaxOutput = 4096;

// Up to the end of file; what a process that never closes it would send is cut off by the deadline.
Status ReadToEnd(int fd, std::string& text, Deadline deadline) {
  for (;;) {
    pollfd wait = {fd, POLLIN, 0};
    int n = ::poll(&wait, 1, deadline.PollTimeoutMs());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return DeadlineExceeded("davit-init has not ended in time");
    char buffer[512];
    ssize_t size = ::read(fd, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return {};
    if (text.size() + static_cast<size_t>(size) <= kMaxOutput) text.append(buffer, static_cast<size_t>(size));
  }
}

Status Converse(const sys::PidFd& process, sys::UniqueFd in, int out, const std::string& cgroup,
                const std::string& description, std::string& text, Deadline deadline) {
  RETURN_IF_ERROR(sys::StartScope(cgroup, description, process.pid(), deadline));
  FaultPoint("pod.run.init.scope");
  RETURN_IF_ERROR(sys::WriteAll(in.get(), "g").Annotate("davit-init"));
  in.reset();
  return ReadToEnd(out, text, deadline);
}

}  // namespace

Result<sys::CommandResult> RunInitInScope(sys::SpawnOptions spawn, const std::string& cgroup,
                                          const std::string& description, Deadline deadline) {
  ASSIGN_OR_RETURN(sys::Pipe in, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::Pipe out, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::Pipe err, sys::MakePipe());
  spawn.argv.insert(spawn.argv.begin() + 1, {"--wait", "stdin"});
  spawn.fds = {{in.read.get(), 0}, {out.write.get(), 1}, {err.write.get(), 2}};
  spawn.new_session = true;
  ASSIGN_OR_RETURN(sys::PidFd process, sys::Spawn(spawn));
  in.read.reset();
  out.write.reset();
  err.write.reset();

  sys::CommandResult result;
  Status status = Converse(process, std::move(in.write), out.read.get(), cgroup, description, result.out, deadline);
  if (status.ok()) status = ReadToEnd(err.read.get(), result.err, deadline);
  if (!status.ok()) IgnoreError(process.Signal(SIGKILL));
  Result<sys::ExitStatus> ended = process.Reap(
      Deadline::After(std::chrono::seconds(5)).Min(status.ok() ? deadline : Deadline::After(std::chrono::seconds(5))));
  RETURN_IF_ERROR(status);
  ASSIGN_OR_RETURN(result.exit, std::move(ended));
  return result;
}

}  // namespace davit::pod
