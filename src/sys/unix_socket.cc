#include "sys/unix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace davit::sys {
namespace {

constexpr size_t kMaxFds = 16;

// An address that fits sun_path, and the directory descriptor that a long path goes through.
struct Address {
  sockaddr_un sun = {};
  UniqueFd directory;
};

Result<Address> MakeAddress(const std::string& path) {
  Address address;
  address.sun.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) return InvalidArgument("socket path is empty or has a NUL");
  std::string name = path;
  if (path.size() >= sizeof(address.sun.sun_path)) {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos) return InvalidArgument("socket name " + path + " is too long");
    ASSIGN_OR_RETURN(address.directory, Open(path.substr(0, slash + 1), O_PATH | O_DIRECTORY));
    name = "/proc/self/fd/" + std::to_string(address.directory.get()) + path.substr(slash);
    if (name.size() >= sizeof(address.sun.sun_path)) return InvalidArgument("socket name " + path + " is too long");
  }
  std::memcpy(address.sun.sun_path, name.data(), name.size());
  return address;
}

Result<UniqueFd> MakeSocket(int type) {
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "create unix socket");
  return fd;
}

Status RemoveOldSocket(const char* path) {
  struct stat st;
  if (::lstat(path, &st) != 0) return errno == ENOENT ? Status() : ErrnoError(errno, "stat");
  if (!S_ISSOCK(st.st_mode)) return AlreadyExists("a file that is no socket is there");
  if (::unlink(path) != 0 && errno != ENOENT) return ErrnoError(errno, "remove the old socket");
  return {};
}

Status BindAndListen(int fd, const Address& address, unsigned mode) {
  const char* path = address.sun.sun_path;
  RETURN_IF_ERROR(RemoveOldSocket(path));
  // The file gets the socket's own mode less the umask, so it is never open to more than `mode` says;
  // afterwards it is made exact. Nobody can connect before listen(2).
  if (::fchmod(fd, mode) != 0) return ErrnoError(errno, "set socket mode");
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.sun), sizeof(address.sun)) != 0) {
    return ErrnoError(errno, "bind");
  }
  if (::chmod(path, mode) != 0) return ErrnoError(errno, "set mode");
  if (::listen(fd, SOMAXCONN) != 0) return ErrnoError(errno, "listen");
  return {};
}

// The descriptors of a received message: owned at once, so that no error path can leak them.
std::vector<UniqueFd> TakeFds(msghdr* header) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(header); c != nullptr; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

Status WaitReadable(int fd, Deadline deadline) {
  for (;;) {
    pollfd p = {fd, POLLIN, 0};
    int n = ::poll(&p, 1, deadline.PollTimeoutMs());
    if (n > 0) return {};
    if (n == 0) return DeadlineExceeded("receive: nothing came in time");
    if (errno != EINTR) return ErrnoError(errno, "poll");
  }
}

}  // namespace

Result<UniqueFd> ListenUnix(const std::string& path, int type, unsigned mode) {
  ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  ASSIGN_OR_RETURN(UniqueFd fd, MakeSocket(type));
  RETURN_IF_ERROR(BindAndListen(fd.get(), address, mode).Annotate("listen on " + path));
  return fd;
}

Result<UniqueFd> ConnectUnix(const std::string& path, int type) {
  ASSIGN_OR_RETURN(Address address, MakeAddress(path));
  ASSIGN_OR_RETURN(UniqueFd fd, MakeSocket(type));
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.sun), sizeof(address.sun)) != 0) {
    if (errno == EINTR) continue;
    // EAGAIN: a non-blocking socket and a full backlog.
    if (errno == ECONNREFUSED || errno == EAGAIN) return Unavailable("connect to " + path + ": nobody listens");
    return ErrnoError(errno, "connect to " + path);
  }
  return fd;
}

Result<UniqueFd> AcceptUnix(int listen_fd) {
  for (;;) {
    int fd = ::accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) return UniqueFd(fd);
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return Unavailable("accept: no connection is waiting");
    return ErrnoError(errno, "accept");
  }
}

Result<PeerCredentials> PeerOf(int fd) {
  ucred cred = {};
  socklen_t size = sizeof cred;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0) return ErrnoError(errno, "get peer credentials");
  return PeerCredentials{cred.pid, cred.uid, cred.gid};
}

Status SendWithFds(int fd, std::string_view data, const std::vector<int>& fds) {
  if (data.empty()) return InvalidArgument("send: an empty message reads as end of file");
  if (fds.size() > kMaxFds) return InvalidArgument("send: " + std::to_string(fds.size()) + " descriptors, at most 16");
  iovec iov = {const_cast<char*>(data.data()), data.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    size_t bytes = fds.size() * sizeof(int);
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(c), fds.data(), bytes);
  }
  for (;;) {
    ssize_t n = ::sendmsg(fd, &header, MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(data.size())) return {};
    if (n >= 0) return Internal("send: only " + std::to_string(n) + " of " + std::to_string(data.size()) + " bytes");
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) return Unavailable("send: the peer is gone");
    if (errno == EAGAIN) return Unavailable("send: the peer does not read");
    if (errno == EMSGSIZE)
      return InvalidArgument("send: message of " + std::to_string(data.size()) + " bytes is too long");
    return ErrnoError(errno, "send");
  }
}

Result<Message> ReceiveWithFds(int fd, size_t max_bytes, Deadline deadline) {
  Message message;
  message.data.resize(max_bytes);
  for (;;) {
    RETURN_IF_ERROR(WaitReadable(fd, deadline));
    iovec iov = {message.data.data(), max_bytes};
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
    msghdr header = {};
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t n = ::recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;  // another reader may have been faster
      if (errno != ECONNRESET) return ErrnoError(errno, "receive");
      n = 0;  // closed with our own data unread: for the caller the same as closed
      header.msg_controllen = 0;
      header.msg_flags = 0;
    }
    message.fds = TakeFds(&header);
    if ((header.msg_flags & MSG_TRUNC) != 0) {
      return OutOfRange("receive: message is longer than " + std::to_string(max_bytes) + " bytes");
    }
    if ((header.msg_flags & MSG_CTRUNC) != 0)
      return OutOfRange("receive: message has more descriptors than 16 or than fit");
    message.data.resize(static_cast<size_t>(n));
    return message;
  }
}

}  // namespace davit::sys
