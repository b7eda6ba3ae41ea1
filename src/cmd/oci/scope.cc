#include "cmd/oci/scope.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>

#include "sys/systemd_bus.h"

namespace davit::oci_cli {
namespace {

constexpr std::chrono::seconds kBusTime{30};

// Until the other end of the pipe is closed, which happens also when this runtime is killed.
[[noreturn]] void WaitForEnd(int fd) {
  char byte = 0;
  while (::read(fd, &byte, 1) < 0 && errno == EINTR) {
  }
  ::_exit(0);
}

}  // namespace

Result<ScopeKeeper> ScopeKeeper::Make(const std::string& cgroup, const std::string& description) {
  ASSIGN_OR_RETURN(sys::Pipe pipe, sys::MakePipe());
  pid_t pid = ::fork();
  if (pid < 0) return ErrnoError(errno, "fork");
  if (pid == 0) {
    pipe.write.reset();
    WaitForEnd(pipe.read.get());
  }
  ScopeKeeper keeper(pid, std::move(pipe.write));
  RETURN_IF_ERROR(sys::StartScope(cgroup, description, pid, Deadline::After(kBusTime)));
  return keeper;
}

ScopeKeeper::~ScopeKeeper() {
  if (pid_ < 0) return;
  // Not by the pipe alone: the container's process has a copy of its end until its exec.
  ::kill(pid_, SIGKILL);
  end_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace davit::oci_cli
