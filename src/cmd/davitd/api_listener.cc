#include "cmd/davitd/api_listener.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "sys/unix_socket.h"

namespace davit::cmd {
namespace {

constexpr unsigned kMode = 0660;

sys::UniqueFd OpenReserve() { return sys::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

// A socket that answers is somebody's, most likely another davitd's with another root. One that does not is what a
// killed daemon left.
Status ApiListener::CheckFree(const std::string& path) {
  Result<sys::UniqueFd> other = sys::ConnectUnix(path, SOCK_STREAM);
  if (other.ok()) {
    Result<sys::PeerCredentials> peer = sys::PeerOf(other->get());
    return FailedPrecondition("listen on " + path + ": process " + (peer.ok() ? std::to_string(peer->pid) + " " : "") +
                              "answers there already (end it, or choose another socket with --listen)");
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
    return FailedPrecondition("listen on " + path + ": it is there and is no socket");
  }
  return {};
}

Result<std::unique_ptr<ApiListener>> ApiListener::Start(const std::string& path,
                                                        std::function<void(sys::UniqueFd)> adopt) {
  RETURN_IF_ERROR(CheckFree(path));
  std::unique_ptr<ApiListener> self(new ApiListener(path, std::move(adopt)));
  self->reserve_ = OpenReserve();
  ASSIGN_OR_RETURN(self->listener_, sys::ListenUnix(path, SOCK_STREAM, kMode));
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return ErrnoError(errno, "stat " + path);
  self->device_ = info.st_dev;
  self->inode_ = info.st_ino;
  RETURN_IF_ERROR(sys::SetNonBlocking(self->listener_.get(), true));
  ASSIGN_OR_RETURN(self->loop_, sched::EventLoop::Start("davit-accept"));
  ASSIGN_OR_RETURN(self->watch_,
                   self->loop_->Watch(self->listener_.get(), EPOLLIN, [raw = self.get()](uint32_t) { raw->Accept(); }));
  return self;
}

ApiListener::~ApiListener() {
  if (watch_ != 0) loop_->Remove(watch_);
  struct stat info {};
  bool own = ::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
  if (own && inode_ != 0) ::unlink(path_.c_str());
}

void ApiListener::Accept() {
  sys::UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (connection.valid()) {
    adopt_(std::move(connection));
    return;
  }
  if (errno != EMFILE && errno != ENFILE) return;  // the client has gone, or memory is short: asked again at once
  auto now = std::chrono::steady_clock::now();
  if (now - said_ > std::chrono::seconds(1)) {
    LogError("connections to {} are refused: no descriptor is free ({})", path_, std::strerror(errno));
    said_ = now;
  }
  reserve_.reset();
  sys::UniqueFd refused(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  refused.reset();
  reserve_ = OpenReserve();
}

}  // namespace davit::cmd
