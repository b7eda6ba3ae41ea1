#include "cmd/oci/foreground.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "cli/terminal.h"
#include "sys/unix_socket.h"

namespace davit::oci_cli {
namespace {

constexpr size_t kBlock = 32 * 1024;
constexpr size_t kMaxName = 4096;
constexpr std::chrono::milliseconds kDrain{200};

void CopySize(int master) {
  if (auto size = cli::SizeOf(STDIN_FILENO)) {
    winsize window = {};
    window.ws_col = size->columns;
    window.ws_row = size->rows;
    ::ioctl(master, TIOCSWINSZ, &window);
  }
}

// False at the end of the file, and when the other end has gone (EIO of a pty).
bool CopyOnce(int from, int to) {
  std::array<char, kBlock> block{};
  ssize_t got = ::read(from, block.data(), block.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (got <= 0) return false;
  return sys::WriteAll(to, std::string_view(block.data(), static_cast<size_t>(got))).ok();
}

class Relay {
 public:
  Relay(const sys::PidFd& process, int master, cli::Signals signals)
      : process_(process), master_(master), signals_(std::move(signals)) {}

  Result<int> Run() {
    Deadline drain = Deadline::Infinite();
    bool ended = false;
    while (!ended || (master_ >= 0 && !drain.expired())) {
      std::array<pollfd, 4> fds = {{{ended ? -1 : process_.fd(), POLLIN, 0},
                                    {signals_.fd(), POLLIN, 0},
                                    {master_, POLLIN, 0},
                                    {master_ >= 0 && input_ ? STDIN_FILENO : -1, POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), drain.PollTimeoutMs()) < 0 && errno != EINTR) return ErrnoError(errno, "poll");
      if (fds[2].revents != 0 && !CopyOnce(master_, STDOUT_FILENO)) master_ = -1;
      if (fds[3].revents != 0 && master_ >= 0 && !CopyOnce(STDIN_FILENO, master_)) input_ = false;
      if (fds[1].revents != 0) Forward();
      if (fds[0].revents != 0) {
        ended = true;
        drain = Deadline::After(kDrain);  // what it has written last is still in the pty
      }
    }
    ASSIGN_OR_RETURN(sys::ExitStatus exit, process_.Reap(Deadline::Infinite()));
    return exit.code;
  }

 private:
  void Forward() {
    int signal = signals_.Take();
    if (signal == 0) return;
    if (signal == SIGWINCH && master_ >= 0) return CopySize(master_);
    IgnoreError(process_.Signal(signal));
  }

  const sys::PidFd& process_;
  int master_;
  cli::Signals signals_;
  bool input_ = true;
};

}  // namespace

Result<Console> MakeConsole(bool terminal, bool detach, const std::string& console_socket) {
  Console console;
  if (!terminal) {
    if (console_socket.empty()) return console;
    return InvalidArgument("--console-socket goes with process.terminal only");
  }
  if (!console_socket.empty()) {
    ASSIGN_OR_RETURN_WITH(console.socket, sys::ConnectUnix(console_socket, SOCK_STREAM), "--console-socket");
    return console;
  }
  if (detach) return InvalidArgument("process.terminal needs --console-socket: nobody stays to hold the terminal");
  ASSIGN_OR_RETURN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
  console.socket = std::move(pair.first);
  console.receiver = std::move(pair.second);
  return console;
}

Result<int> WaitInForeground(const sys::PidFd& process, const sys::UniqueFd& receiver) {
  ASSIGN_OR_RETURN(cli::Signals signals, cli::Signals::Block({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
                                                              SIGWINCH, SIGCONT, SIGTSTP}));
  sys::UniqueFd master;
  std::optional<cli::RawMode> raw;
  if (receiver.valid()) {
    ASSIGN_OR_RETURN_WITH(sys::Message message, sys::ReceiveWithFds(receiver.get(), kMaxName, Deadline::Infinite()),
                          "receive the terminal");
    if (message.fds.size() != 1) return Internal("the terminal did not come");
    master = std::move(message.fds[0]);
    CopySize(master.get());
    if (::isatty(STDIN_FILENO) == 1) {
      ASSIGN_OR_RETURN(cli::RawMode mode, cli::RawMode::Enter(STDIN_FILENO));
      raw.emplace(std::move(mode));
    }
  }
  return Relay(process, master.get(), std::move(signals)).Run();
}

}  // namespace davit::oci_cli
