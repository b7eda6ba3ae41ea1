#include "sys/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/rollback.h"

namespace davit::sys {
namespace {

// What the child of Holder does: a few system calls, no lock, nothing that a sanitizer's runtime would look at, whose
// locks other threads of the parent may have held. It never executes anything, so nothing closes by itself what it has
// copies of: locks, sockets, and the pipe of another holder, each of which would then wait for the other to end.
[[noreturn]] __attribute__((no_sanitize("thread", "address"))) void HoldUntilEnd(unsigned kept) {
  char byte = 0;
  if (kept > 0) ::syscall(SYS_close_range, 0U, kept - 1, 0U);
  ::syscall(SYS_close_range, kept + 1, ~0U, 0U);
  while (::syscall(SYS_read, kept, &byte, 1UL) < 0 && errno == EINTR) {
  }
  while (true) ::syscall(SYS_exit_group, 0);
}

// A child that does nothing but keep its new namespaces alive: until this ends, or this process does.
class Holder {
 public:
  // With CLONE_NEWUSER among the flags the user namespace is made first and owns the others (clone(2)).
  static Result<Holder> Start(int flags) {
    Holder holder;
    ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
    // Like fork(2), without its handlers.
    const auto kept = static_cast<unsigned>(pipe.read.get());
    long pid = ::syscall(SYS_clone, static_cast<unsigned long>(flags | SIGCHLD), 0UL, 0UL, 0UL, 0UL);
    if (pid < 0) {
      if (errno == ENOSPC || errno == EUSERS) {
        return ResourceExhausted("create user namespace: user.max_user_namespaces does not allow another");
      }
      return ErrnoError(errno, "create user namespace");
    }
    if (pid == 0) HoldUntilEnd(kept);
    holder.pid_ = static_cast<pid_t>(pid);
    holder.pipe_ = std::move(pipe.write);
    return holder;
  }
  Holder(Holder&& other) noexcept : pid_(std::exchange(other.pid_, -1)), pipe_(std::move(other.pipe_)) {}
  Holder& operator=(Holder&&) = delete;
  ~Holder() {
    pipe_.reset();  // end of file: it leaves
    if (pid_ <= 0) return;
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  [[nodiscard]] std::string Proc(const std::string& name) const { return "/proc/" + std::to_string(pid_) + "/" + name; }

 private:
  Holder() = default;
  pid_t pid_ = -1;
  UniqueFd pipe_;
};

std::string MapText(const std::vector<IdRange>& ranges) {
  std::string text;
  for (const IdRange& range : ranges) {
    text += std::to_string(range.inside) + " " + std::to_string(range.outside) + " " + std::to_string(range.length);
    text += "\n";
  }
  return text;
}

Status WriteMaps(const Holder& holder, const IdMap& map) {
  RETURN_IF_ERROR(WriteValue(holder.Proc("uid_map"), MapText(map.uids)).Annotate("map user ids"));
  return WriteValue(holder.Proc("gid_map"), MapText(map.gids)).Annotate("map group ids");
}

}  // namespace

Result<UniqueFd> CreateUserNamespace(const IdMap& map) {
  ASSIGN_OR_RETURN(Holder holder, Holder::Start(CLONE_NEWUSER));
  RETURN_IF_ERROR(WriteMaps(holder, map));
  return Open(holder.Proc("ns/user"), O_RDONLY);
}

Status CreatePinnedNamespacesIn(const UserNamespaceRequest& user, const std::vector<PinRequest>& requests,
                                const std::function<Status()>& inside) {
  int flags = CLONE_NEWUSER;
  for (const PinRequest& request : requests) flags |= CloneFlag(request.kind);
  ASSIGN_OR_RETURN(Holder holder, Holder::Start(flags));
  RETURN_IF_ERROR(WriteMaps(holder, user.map));
  std::vector<PinRequest> pins = requests;
  pins.push_back({NamespaceKind::kUser, user.path});
  Rollback undo;
  for (const PinRequest& pin : pins) {
    Status pinned = PinNamespace(holder.Proc("ns/" + std::string(NamespaceName(pin.kind))), pin.path);
    if (pinned.code() == StatusCode::kAlreadyExists) return pinned;  // not ours to undo
    undo.Add("unpin " + pin.path, [path = pin.path] { return Unpin(path); });
    RETURN_IF_ERROR(pinned);
  }
  Status ran = RunInNamespaces(requests, [&]() -> Status {
    if ((flags & CLONE_NEWNET) != 0) RETURN_IF_ERROR(PrepareNetworkNamespace());
    return inside ? inside() : Status();
  });
  if (ran.ok()) undo.Commit();
  return ran;
}

Status RunAsUser(uint32_t uid, const std::function<Status()>& work) {
  // The system call itself: the C library's changes every thread.
  constexpr long kKeep = -1;
  if (::syscall(SYS_setresuid, kKeep, static_cast<long>(uid), kKeep) != 0) {
    return ErrnoError(errno, "become user " + std::to_string(uid));
  }
  Status status = work();
  if (::syscall(SYS_setresuid, kKeep, static_cast<long>(::getuid()), kKeep) == 0) return status;
  return status.ok() ? ErrnoError(errno, "become oneself again") : status;
}

}  // namespace davit::sys
