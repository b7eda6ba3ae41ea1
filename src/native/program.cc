#include "native/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/strings.h"
#include "sys/process.h"
#include "sys/rooted.h"

namespace davit::native {
namespace {

constexpr size_t kMaxPasswd = 1 << 20;

// In the words of Go's os/exec, which clients of runtimes look for.
Status NotExecutable(const std::string& name, const std::string& why) {
  return InvalidArgument("exec: \"" + Printable(name, 1024) + "\": " + why);
}

std::string Reason(int err) {
  switch (err) {
    case ENOENT:
      return "no such file or directory";
    case EACCES:
      return "permission denied";
    default:
      return std::strerror(err);  // NOLINT(concurrency-mt-unsafe): one thread
  }
}

// 0, or why the file cannot be executed.
int CheckExecutable(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return errno;
  if (S_ISDIR(st.st_mode)) return EISDIR;
  if (!S_ISREG(st.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

std::string ValueOf(const std::vector<std::string>& env, std::string_view name) {
  std::string value;
  for (const std::string& entry : env) {  // the last one counts, as with runc
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      value = entry.substr(name.size() + 1);
  }
  return value;
}

// Opened for real only once it is known to be a regular file, and by the node's procfs: what the container has at /proc
// may be anything.
Result<std::string> ReadPasswd(const Procfs& procfs) {
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open("/", O_PATH | O_DIRECTORY));
  ASSIGN_OR_RETURN(sys::UniqueFd handle, sys::OpenInRoot(root.get(), "/etc/passwd", O_PATH));
  struct stat st;
  if (::fstat(handle.get(), &st) != 0 || !S_ISREG(st.st_mode)) return InvalidArgument("/etc/passwd is no file");
  ASSIGN_OR_RETURN(sys::UniqueFd file, procfs.Reopen(handle.get(), O_RDONLY));
  return sys::ReadAll(file.get(), kMaxPasswd);
}

// passwd(5): name:password:uid:gid:gecos:directory:shell.
std::string HomeOf(const Procfs& procfs, uint32_t uid) {
  for (const std::string& line : Split(ReadPasswd(procfs).value_or(""), '\n')) {
    std::vector<std::string> fields = Split(line, ':');
    if (fields.size() >= 6 && ParseUint64(fields[2]) == uid && !fields[5].empty()) return fields[5];
  }
  return "/";
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<std::string> FindProgram(const oci::Process& process) {
  if (process.args.empty() || process.args[0].empty()) return InvalidArgument("process.args is empty");
  const std::string& name = process.args[0];
  if (name.find('/') != std::string::npos) {
    int err = CheckExecutable(name);
    if (err != 0) return NotExecutable(name, Reason(err));
    return name;
  }
  std::string path = ValueOf(process.env, "PATH");
  int found_but = 0;
  for (const std::string& directory : Split(path.empty() ? sys::kDefaultPath : path, ':')) {
    std::string candidate = (directory.empty() ? "." : directory) + "/" + name;
    int err = CheckExecutable(candidate);
    if (err == 0) return candidate;
    if (err == EACCES) found_but = err;
  }
  return NotExecutable(name, found_but != 0 ? Reason(found_but) : "executable file not found in $PATH");
}

Status TakeStreams(const StandardStreams& streams) {
  // First out of the way of the three numbers, any of which may be the source of another.
  std::array<int, 3> wanted = {streams.in, streams.out, streams.err};
  for (int& fd : wanted) {
    if (fd < 0) fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return ErrnoError(errno, "take the standard streams");
  }
  for (int number = 0; number < 3; ++number) {
    if (::dup2(wanted.at(static_cast<size_t>(number)), number) < 0) return ErrnoError(errno, "dup2");
    ::close(wanted.at(static_cast<size_t>(number)));
  }
  return {};
}

void ResetSignals() {
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &by_default, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

Status EnterDirectory(const std::string& path) {
  if (::chdir(path.empty() ? "/" : path.c_str()) != 0) return ErrnoError(errno, "process.cwd " + Printable(path));
  std::array<char, 4096> where{};
  // The system call and not getcwd(3), which makes up a name where the kernel says "(unreachable)".
  long n = ::syscall(SYS_getcwd, where.data(), where.size());
  if (n <= 0 || where[0] != '/') {
    return PermissionDenied("process.cwd " + Printable(path) + ": it is outside of the container's root");
  }
  return {};
}

Status CloseOthers(int preserved, std::vector<int> kept) {
  auto next = static_cast<unsigned>(3 + preserved);
  for (unsigned fd = 3; fd < next; ++fd) ::fcntl(static_cast<int>(fd), F_SETFD, 0);
  std::sort(kept.begin(), kept.end());
  for (int fd : kept) {
    if (fd < static_cast<int>(next)) continue;
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return ErrnoError(errno, "close by the exec");
    auto number = static_cast<unsigned>(fd);
    if (number > next && ::syscall(SYS_close_range, next, number - 1, 0U) != 0) return ErrnoError(errno, "close_range");
    next = number + 1;
  }
  return ::syscall(SYS_close_range, next, ~0U, 0U) == 0 ? Status() : ErrnoError(errno, "close_range");
}

std::vector<std::string> EnvironmentOf(const Procfs& procfs, const oci::Process& process) {
  std::vector<std::string> environment = process.env;
  bool has = std::any_of(environment.begin(), environment.end(),
                         [](const std::string& entry) { return entry.starts_with("HOME=") && entry != "HOME="; });
  if (!has) environment.push_back("HOME=" + HomeOf(procfs, process.user.uid));
  return environment;
}

Status Execute(const std::string& path, const oci::Process& process, const std::vector<std::string>& environment) {
  std::vector<char*> arguments = Pointers(process.args);
  std::vector<char*> variables = Pointers(environment);
  ::execve(path.c_str(), arguments.data(), variables.data());
  int err = errno;
  if (err == ENOENT || err == EACCES || err == ENOEXEC || err == EISDIR || err == ENOTDIR || err == ELOOP) {
    return NotExecutable(path, Reason(err));
  }
  return ErrnoError(err, "exec: \"" + Printable(path, 1024) + "\"");
}

}  // namespace davit::native
