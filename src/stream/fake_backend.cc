#include "stream/fake_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdlib>

#include "sys/process.h"

namespace davit::stream {
namespace {

class ChildProcess final : public Process {
 public:
  explicit ChildProcess(FakeBackend& backend) : backend_(backend) {}
  ~ChildProcess() override {
    ++backend_.released;
    if (reaped_ || !pid_.valid()) return;
    if (!pid_.WaitEnded(Deadline::After(std::chrono::seconds(0)))) {
      ++backend_.killed;
      IgnoreError(pid_.Signal(SIGKILL));
    }
    (void)pid_.Reap(Deadline::After(std::chrono::seconds(10)));
  }

  Status Start(const std::vector<std::string>& command, bool with_terminal) {
    sys::SpawnOptions options;
    options.argv = command;
    options.env = sys::MinimalEnvironment();
    options.new_session = with_terminal;
    if (with_terminal) {
      terminal.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
      if (::grantpt(terminal.get()) != 0 || ::unlockpt(terminal.get()) != 0) return ErrnoError(errno, "open terminal");
      char name[64];
      ::ptsname_r(terminal.get(), name, sizeof name);
      ASSIGN_OR_RETURN(sys::UniqueFd slave, sys::Open(name, O_RDWR | O_NOCTTY));
      options.fds = {{slave.get(), 0}, {slave.get(), 1}, {slave.get(), 2}};
      ASSIGN_OR_RETURN(pid_, sys::Spawn(options));
      size_.reset(::fcntl(terminal.get(), F_DUPFD_CLOEXEC, 0));
      return {};
    }
    ASSIGN_OR_RETURN(sys::Pipe in, sys::MakePipe());
    ASSIGN_OR_RETURN(sys::Pipe out, sys::MakePipe());
    ASSIGN_OR_RETURN(sys::Pipe err, sys::MakePipe());
    options.fds = {{in.read.get(), 0}, {out.write.get(), 1}, {err.write.get(), 2}};
    ASSIGN_OR_RETURN(pid_, sys::Spawn(options));
    stdin_fd = std::move(in.write);
    stdout_fd = std::move(out.read);
    stderr_fd = std::move(err.read);
    return {};
  }

  void Resize(uint16_t width, uint16_t height) override {
    winsize size{};
    size.ws_col = width;
    size.ws_row = height;
    ::ioctl(size_.get(), TIOCSWINSZ, &size);
    backend_.AddSize(width, height);
  }
  [[nodiscard]] int exit_fd() const override { return pid_.fd(); }
  Result<int> ExitCode() override {
    reaped_ = true;
    ASSIGN_OR_RETURN(sys::ExitStatus exit, pid_.Reap(Deadline::After(std::chrono::seconds(0))));
    return exit.code;
  }

 private:
  FakeBackend& backend_;
  sys::PidFd pid_;
  sys::UniqueFd size_;  // of the terminal, for its ioctl
  bool reaped_ = false;
};

}  // namespace

Result<std::unique_ptr<Process>> FakeBackend::OpenExec(const ExecRequest& request) {
  if (fail_open) return *fail_open;
  auto process = std::make_unique<ChildProcess>(*this);
  ++opened;
  RETURN_IF_ERROR(process->Start(request.command, request.terminal));
  return std::unique_ptr<Process>(std::move(process));
}

Result<std::unique_ptr<Process>> FakeBackend::OpenAttach(const AttachRequest& request) {
  if (fail_open) return *fail_open;
  auto process = std::make_unique<ChildProcess>(*this);
  ++opened;
  RETURN_IF_ERROR(process->Start(attach_command, request.terminal));
  return std::unique_ptr<Process>(std::move(process));
}

Result<sys::UniqueFd> FakeBackend::OpenPort(const PodId&, int port) {
  if (fail_open) return *fail_open;
  sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoError(errno, "connect to port " + std::to_string(port));
  }
  return fd;
}

std::vector<std::pair<int, int>> FakeBackend::Sizes() {
  std::lock_guard lock(mutex_);
  return sizes_;
}

void FakeBackend::AddSize(int width, int height) {
  std::lock_guard lock(mutex_);
  sizes_.emplace_back(width, height);
}

}  // namespace davit::stream
