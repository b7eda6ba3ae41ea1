#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace davit::cli {

std::optional<WindowSize> SizeOf(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return std::nullopt;
  if (size.ws_col == 0 || size.ws_row == 0) return WindowSize{};  // a terminal that nobody told its size
  return WindowSize{size.ws_col, size.ws_row};
}

Result<RawMode> RawMode::Enter(int fd) {
  termios saved{};
  if (::tcgetattr(fd, &saved) != 0) return ErrnoError(errno, "get terminal mode");
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) != 0) return ErrnoError(errno, "set terminal mode");
  return RawMode(fd, saved);
}

RawMode::~RawMode() {
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &saved_);
}

Result<Signals> Signals::Block(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  if (int err = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); err != 0) return ErrnoError(err, "block signals");
  sys::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, "signalfd");
  return Signals(std::move(fd));
}

int Signals::Take() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

std::string DetachKeys::Filter(std::string_view bytes) {
  constexpr char kCtrlP = 0x10;
  constexpr char kCtrlQ = 0x11;
  std::string out;
  for (char c : bytes) {
    if (detached_) break;
    if (held_ && c == kCtrlQ) {
      detached_ = true;
      break;
    }
    if (held_) out.push_back(kCtrlP);
    held_ = c == kCtrlP;
    if (!held_) out.push_back(c);
  }
  return out;
}

}  // namespace davit::cli
