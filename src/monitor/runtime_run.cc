#include "monitor/runtime_run.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>

#include "base/strings.h"
#include "sys/unix_socket.h"

namespace davit::monitor {
namespace {

constexpr size_t kMaxMessage = 4096;

// The quoted string that starts at text[0] == '"', unescaped as JSON does it; \u above ASCII becomes '?'.
std::string Unquote(std::string_view text) {
  std::string out;
  for (size_t i = 1; i < text.size() && text[i] != '"' && out.size() < kMaxMessage; ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out.push_back(text[i]);
      continue;
    }
    char c = text[++i];
    if (c == 'u' && i + 4 < text.size()) {
      std::optional<std::string> code = HexDecode(text.substr(i + 1, 4));
      out.push_back(code && (*code)[0] == 0 && static_cast<unsigned char>((*code)[1]) < 128 ? (*code)[1] : '?');
      i += 4;
    } else {
      out.push_back(c == 'n' ? ' ' : c == 't' ? ' ' : c);
    }
  }
  return out;
}

std::string MessageOfLine(std::string_view line) {
  for (std::string_view key : {"\"msg\":", "msg="}) {
    size_t at = line.find(key);
    if (at == std::string_view::npos) continue;
    std::string_view value = Trim(line.substr(at + key.size()));
    if (!value.empty() && value[0] == '"') return Unquote(value);
    return std::string(value.substr(0, value.find(' ')));
  }
  return std::string(line.substr(0, kMaxMessage));
}

bool IsErrorLine(std::string_view line) {
  for (std::string_view mark : {"\"level\":\"error\"", "\"level\": \"error\"", "level=error", "\"level\":\"fatal\""}) {
    if (line.find(mark) != std::string_view::npos) return true;
  }
  return false;
}

std::string ReadTail(int fd, uint64_t offset) {
  std::string text(kMaxMessage * 4, '\0');
  ssize_t n = ::pread(fd, text.data(), text.size(), static_cast<off_t>(offset));
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
};

// proc(5) /proc/pid/stat: pid (comm) state ppid pgrp session. comm may hold blanks and parentheses.
std::optional<ProcessEntry> ParseStat(std::string_view text) {
  size_t close = text.rfind(')');
  if (close == std::string_view::npos) return std::nullopt;
  std::vector<std::string> fields = Split(text.substr(close + 1), ' ');  // "", state, ppid, pgrp, session, ...
  if (fields.size() < 5 || fields[1] == "Z" || fields[1] == "X") return std::nullopt;
  ProcessEntry entry;
  entry.pid = static_cast<pid_t>(ParseUint64(text.substr(0, text.find(' '))).value_or(0));
  entry.parent = static_cast<pid_t>(ParseUint64(fields[2]).value_or(0));
  entry.group = static_cast<pid_t>(ParseUint64(fields[3]).value_or(0));
  entry.session = static_cast<pid_t>(ParseUint64(fields[4]).value_or(0));
  return entry;
}

// The running processes of the machine, zombies left out.
std::vector<ProcessEntry> ListProcesses() {
  std::vector<ProcessEntry> list;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return list;
  while (dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    std::string path = std::string("/proc/") + entry->d_name + "/stat";
    Result<std::string> text = sys::ReadFile(path, 4096);
    if (!text.ok()) continue;
    if (std::optional<ProcessEntry> found = ParseStat(*text)) list.push_back(*found);
  }
  ::closedir(proc);
  return list;
}

// Whether the runtime speaks of the program that the request names, in the words of crun (libcrun's
// "executable file `x` not found", "open executable: Permission denied") and runc (Go's `exec: "x": ...`).
bool IsAboutTheCommand(std::string_view message) {
  for (std::string_view words : {"executable file `", "open executable: ", "exec: \""}) {
    if (message.find(words) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

std::string RuntimeMessage(std::string_view log) {
  std::string_view chosen;
  bool chosen_is_error = false;
  while (!log.empty()) {
    size_t end = std::min(log.find('\n'), log.size());
    std::string_view line = Trim(log.substr(0, end));
    log.remove_prefix(std::min(end + 1, log.size()));
    if (line.empty()) continue;
    bool is_error = IsErrorLine(line);
    if (is_error || !chosen_is_error) chosen = line;
    chosen_is_error = chosen_is_error || is_error;
  }
  return MessageOfLine(chosen);
}

Status RuntimeError(std::string_view what, int exit_code, const std::string& log_path, uint64_t log_offset,
                    int stderr_fd) {
  std::string message;
  if (!log_path.empty()) {
    Result<sys::UniqueFd> log = sys::Open(log_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (log.ok()) message = RuntimeMessage(ReadTail(log->get(), log_offset));
  }
  if (message.empty() && stderr_fd >= 0 && sys::SetNonBlocking(stderr_fd, true).ok()) {
    std::string text(kMaxMessage, '\0');
    ssize_t n = ::read(stderr_fd, text.data(), text.size());
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    message = RuntimeMessage(text);
  }
  if (message.empty()) message = "exit code " + std::to_string(exit_code) + " and no message";
  std::string text = "runtime " + std::string(what) + ": ";
  if (IsAboutTheCommand(message)) return InvalidArgument(text + "command: " + Printable(message, kMaxMessage));
  return Internal(text + Printable(message, kMaxMessage));
}

uint64_t FileSize(const std::string& path) {
  struct stat st;
  return !path.empty() && ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_size) : 0;
}

Result<pid_t> ReadPidFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(path, 64));
  std::optional<uint64_t> pid = ParseUint64(Trim(text));
  if (!pid || *pid < 1 || *pid > 0x7fffffff)
    return Internal("pid file " + path + ": no process id: " + Printable(text));
  return static_cast<pid_t>(*pid);
}

Result<sys::UniqueFd> ReceiveTerminal(int listen_fd) {
  RETURN_IF_ERROR(sys::SetNonBlocking(listen_fd, true));
  ASSIGN_OR_RETURN_WITH(sys::UniqueFd peer, sys::AcceptUnix(listen_fd), "console socket");
  // The runtime has ended, so that all it sent is there; the second is for a runtime that forked the sending.
  ASSIGN_OR_RETURN_WITH(sys::Message message,
                        sys::ReceiveWithFds(peer.get(), 4096, Deadline::After(std::chrono::seconds(1))),
                        "console socket");
  if (message.fds.size() != 1) return Internal("console socket: the runtime sent no terminal");
  return std::move(message.fds[0]);
}

bool IsOwnChild(pid_t pid) {
  siginfo_t info = {};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void KillSession(pid_t pid, pid_t session) {
  for (int round = 0; round < 100; ++round) {
    bool any = false;
    for (const ProcessEntry& entry : ListProcesses()) {
      if (entry.pid == pid || (entry.session != session && entry.group != pid)) continue;
      ::kill(entry.pid, SIGKILL);
      any = true;
    }
    if (!any) return;
  }
}

void KillTree(pid_t pid) {
  std::vector<ProcessEntry> all = ListProcesses();
  std::vector<pid_t> tree = {pid};
  for (size_t i = 0; i < tree.size(); ++i) {
    for (const ProcessEntry& entry : all) {
      if (entry.parent == tree[i]) tree.push_back(entry.pid);
    }
  }
  for (pid_t victim : tree) ::kill(victim, SIGKILL);
}

void KillChildren() {
  pid_t self = ::getpid();
  for (const ProcessEntry& entry : ListProcesses()) {
    if (entry.parent == self) KillTree(entry.pid);
  }
}

void SignalListed(const std::string& procs_file, int signal, pid_t except) {
  Result<std::string> text = sys::ReadFile(procs_file, 4 * 1024 * 1024);
  if (!text.ok()) return;
  for (const std::string& line : Split(*text, '\n')) {
    pid_t pid = static_cast<pid_t>(ParseUint64(line).value_or(0));
    if (pid > 1 && pid != except) ::kill(pid, signal);
  }
}

}  // namespace davit::monitor
