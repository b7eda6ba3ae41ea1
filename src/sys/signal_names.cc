#include "sys/signal_names.h"

#include <array>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "base/strings.h"

namespace davit::sys {

Result<int> ParseSignal(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, int>, 33> kNames = {{
      {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT},     {"ILL", SIGILL},   {"TRAP", SIGTRAP},
      {"ABRT", SIGABRT}, {"IOT", SIGIOT},       {"BUS", SIGBUS},       {"FPE", SIGFPE},   {"KILL", SIGKILL},
      {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},     {"USR2", SIGUSR2},     {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},
      {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD},     {"CLD", SIGCHLD},  {"CONT", SIGCONT},
      {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN},     {"TTOU", SIGTTOU}, {"URG", SIGURG},
      {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},     {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
      {"IO", SIGIO},     {"PWR", SIGPWR},       {"SYS", SIGSYS},
  }};
  // The kernel's real-time signals, not libc's SIGRTMIN, which keeps some for itself.
  constexpr int kRtMin = 34;
  constexpr int kRtMax = 64;
  Status unknown = InvalidArgument("signal \"" + Printable(text) + "\" is not known");
  if (std::optional<uint64_t> number = ParseUint64(text)) {
    if (*number < 1 || *number > static_cast<uint64_t>(kRtMax)) return unknown;
    return static_cast<int>(*number);
  }
  std::string name;
  for (char c : text) name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  if (name.rfind("SIG", 0) == 0) name = name.substr(3);
  for (const auto& [known, number] : kNames) {
    if (name == known) return number;
  }
  int base = name.rfind("RTMIN", 0) == 0 ? kRtMin : name.rfind("RTMAX", 0) == 0 ? kRtMax : 0;
  if (base == 0) return unknown;
  std::string offset = name.substr(5);
  if (offset.empty()) return base;
  char sign = base == kRtMin ? '+' : '-';
  std::optional<uint64_t> steps = ParseUint64(std::string_view(offset).substr(1));
  if (offset[0] != sign || !steps || *steps > static_cast<uint64_t>(kRtMax - kRtMin)) return unknown;
  return sign == '+' ? base + static_cast<int>(*steps) : base - static_cast<int>(*steps);
}

}  // namespace davit::sys
