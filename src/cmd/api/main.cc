// davit-api: flags, sockets, signals.
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "api/api.h"
#include "api/tls_listener.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/version.h"
#include "sys/atomic_file.h"
#include "sys/unix_socket.h"

namespace {

using davit::Result;
using davit::Status;

constexpr int kFirstPassedFd = 3;  // sd_listen_fds(3)

struct Flags {
  std::string endpoint = "unix:///run/davit/davit.sock";
  std::string listen = "/run/davit/api.sock";
  std::string tcp;  // empty: none
  davit::api::TlsFiles tls;
  std::string group;
  std::string log_level = "info";
  davit::api::ApiOptions api;
};

// Sockets that systemd made: the unit's, whose mode and group are its business.
std::vector<davit::sys::UniqueFd> PassedSockets() {
  std::vector<davit::sys::UniqueFd> out;
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || davit::ParseInt64(pid).value_or(0) != ::getpid()) return out;
  int64_t number = davit::ParseInt64(count).value_or(0);
  for (int64_t i = 0; i < number && i < 16; ++i) out.emplace_back(kFirstPassedFd + static_cast<int>(i));
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  return out;
}

// Of a unix socket; nothing for one of another kind.
std::optional<std::string> LocalPath(int fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 || address.sun_family != AF_UNIX) return {};
  return std::string(address.sun_path, ::strnlen(address.sun_path, sizeof address.sun_path));
}

Result<davit::sys::UniqueFd> ListenOn(const Flags& flags) {
  // Somebody who answers there already is not pushed aside.
  if (davit::sys::ConnectUnix(flags.listen, SOCK_STREAM).ok()) {
    return davit::FailedPrecondition("a process answers at " + flags.listen + " already");
  }
  struct stat info {};
  if (::lstat(flags.listen.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
    return davit::FailedPrecondition(flags.listen + " is there and no socket");
  }
  RETURN_IF_ERROR(davit::sys::MakeDirectories(flags.listen.substr(0, flags.listen.rfind('/')), 0755));
  ASSIGN_OR_RETURN(davit::sys::UniqueFd fd, davit::sys::ListenUnix(flags.listen, SOCK_STREAM, 0600));
  if (!flags.group.empty()) {
    gid_t gid = 0;
    if (auto number = davit::ParseUint64(flags.group)) {
      gid = static_cast<gid_t>(*number);
    } else {
      const group* entry = ::getgrnam(flags.group.c_str());
      if (entry == nullptr) return davit::NotFound("group " + davit::Printable(flags.group) + " does not exist");
      gid = entry->gr_gid;
    }
    if (::chown(flags.listen.c_str(), static_cast<uid_t>(-1), gid) != 0) {
      return davit::ErrnoError(errno, "give " + flags.listen + " to group " + flags.group);
    }
  }
  // After the group is right: before, it would be another group's.
  if (::chmod(flags.listen.c_str(), 0660) != 0) return davit::ErrnoError(errno, "set the mode of " + flags.listen);
  return fd;
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // without it there are fewer streams, and that is said when it happens
}

void PrintLog(davit::LogLevel level, std::string_view line) {
  const char* name = level == davit::LogLevel::kError     ? "error"
                     : level == davit::LogLevel::kWarning ? "warning"
                     : level == davit::LogLevel::kDebug   ? "debug"
                                                          : "info";
  std::fprintf(stderr, "%s: %.*s\n", name, static_cast<int>(line.size()), line.data());
}

Result<davit::LogLevel> ParseLevel(const std::string& text) {
  if (text == "debug") return davit::LogLevel::kDebug;
  if (text == "info") return davit::LogLevel::kInfo;
  if (text == "warning") return davit::LogLevel::kWarning;
  if (text == "error") return davit::LogLevel::kError;
  return davit::InvalidArgument("--log-level: debug, info, warning or error");
}

Status Serve(Flags flags) {
  ASSIGN_OR_RETURN(davit::LogLevel level, ParseLevel(flags.log_level));
  davit::SetLogSink(PrintLog);
  davit::SetLogLevel(level);
  RaiseDescriptorLimit();
  std::vector<davit::sys::UniqueFd> listeners = PassedSockets();
  std::vector<davit::sys::UniqueFd> far;
  for (size_t i = 0; i < listeners.size();) {
    if (LocalPath(listeners[i].get())) {
      ++i;
      continue;
    }
    far.push_back(std::move(listeners[i]));
    listeners.erase(listeners.begin() + static_cast<ptrdiff_t>(i));
  }
  if ((!far.empty() || !flags.tcp.empty()) && !flags.tls.complete()) {
    return davit::InvalidArgument(
        "a TCP socket needs --tlscacert, --tlscert and --tlskey: whoever may speak to this server is root on the node, "
        "so clients by TCP must have certificates");
  }
  if (!flags.tcp.empty()) {
    ASSIGN_OR_RETURN(davit::sys::UniqueFd fd, davit::api::ListenTcp(flags.tcp));
    far.push_back(std::move(fd));
  }
  bool passed = !listeners.empty();
  if (flags.listen.starts_with("tcp://")) {
    return davit::InvalidArgument("--listen takes a unix socket; --tcp serves by TCP, with clients' certificates");
  }
  if (flags.listen.starts_with("unix://")) flags.listen.erase(0, 7);
  if (!passed) {
    ASSIGN_OR_RETURN(davit::sys::UniqueFd fd, ListenOn(flags));
    listeners.push_back(std::move(fd));
  }
  const std::string local = LocalPath(listeners.front().get()).value_or(flags.listen);
  RETURN_IF_ERROR(davit::sys::MakeDirectories(flags.api.spool, 0700).Annotate("--spool"));
  flags.api.endpoint = flags.endpoint;
  flags.api.socket = flags.listen;
  ASSIGN_OR_RETURN(std::unique_ptr<davit::api::Api> api, davit::api::Api::Start(flags.api, std::move(listeners)));
  std::vector<std::unique_ptr<davit::api::TlsListener>> tls;
  for (davit::sys::UniqueFd& fd : far) {
    ASSIGN_OR_RETURN(std::unique_ptr<davit::api::TlsListener> made,
                     davit::api::TlsListener::Start(api->loop(), std::move(fd), flags.tls, local));
    tls.push_back(std::move(made));
  }
  davit::LogInfo("davit-api {} serves Docker's and Podman's API on {}, in front of {}", davit::kVersion, flags.listen,
                 flags.endpoint);
  sigset_t handled;
  sigemptyset(&handled);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&handled, signal);
  int signal = 0;
  while (::sigwait(&handled, &signal) != 0) {
  }
  if (!passed) ::unlink(flags.listen.c_str());
  // Nothing here outlives its process or has to be saved: what clients wait for ends with their connections.
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  // Threads come and go with their work; an arena for each would keep what they once needed.
  ::mallopt(M_ARENA_MAX, 2);
  Flags flags;
  CLI::App app{
      "davit-api: Docker's and Podman's HTTP API for Davit, or for another CRI runtime.\n\n"
      "Examples:\n"
      "  davit-api                                        serve on /run/davit/api.sock\n"
      "  docker -H unix:///run/davit/api.sock ps          everything on the node, the kubelet's too\n"
      "  podman --remote --url unix:///run/davit/api.sock pod ps\n"
      "  davit-api --listen /run/docker.sock --group docker\n"
      "  davit-api --tcp 0.0.0.0:2376 --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem\n"
      "  davit-api --cri unix:///run/containerd/containerd.sock --listen /run/cri-api.sock\n"};
  app.add_option("--cri", flags.endpoint, "socket of davitd, or of another CRI runtime")->capture_default_str();
  app.add_option("--listen", flags.listen, "unix socket to serve on (systemd's, when it passes one)")
      ->capture_default_str();
  app.add_option("--tcp", flags.tcp,
                 "address to serve on as well, as 0.0.0.0:2376: with TLS, for clients whose certificate --tlscacert "
                 "has signed");
  app.add_option("--tlscacert", flags.tls.authority, "PEM file of the authority that signs clients' certificates");
  app.add_option("--tlscert", flags.tls.certificate, "PEM file of the server's certificate, with its chain");
  app.add_option("--tlskey", flags.tls.key, "PEM file of its key");
  app.add_option("--group", flags.group, "group that may use the socket, besides root");
  app.add_flag("--allow-kubernetes-changes", flags.api.allow_kubernetes_changes,
               "stop, remove and change what the kubelet made, too (it will make it again)");
  app.add_option("--spool", flags.api.spool, "directory for archives on their way to davitd")->capture_default_str();
  app.add_option("--max-connections", flags.api.http.max_connections, "clients at a time")->capture_default_str();
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error")->capture_default_str();
  app.set_version_flag("--version", std::string("davit-api ") + davit::kVersion);
  CLI11_PARSE(app, argc, argv);
  // Before any thread starts: threads inherit the mask, so these come to sigwait alone.
  sigset_t handled;
  sigemptyset(&handled);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&handled, signal);
  ::pthread_sigmask(SIG_BLOCK, &handled, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  Status status = Serve(flags);
  if (!status.ok()) {
    std::fprintf(stderr, "davit-api: %s\n", status.message().c_str());
    return 1;
  }
  return 0;
}
