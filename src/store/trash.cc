#include "store/trash.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "sched/thread_pool.h"
#include "store/directory.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

// Deeper directories are moved up into the trash itself, so that an image with thousands of nested
// directories costs neither that many descriptors nor a stack.
constexpr int kMaxDepth = 24;

std::string RandomName() { return MintId().substr(0, 32); }

// The calling thread only: nice 19, and the idle IO class (ioprio_set(2)) where a scheduler heeds it.
void LowerPriority() {
  constexpr int kIoprioWhoProcess = 1;
  constexpr int kIoprioIdle = 3 << 13;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 19);
  ::syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, kIoprioIdle);
}

}  // namespace

struct Trash::State {
  std::string dir;
  sys::UniqueFd dir_fd;
  TrashOptions options;

  std::mutex mutex;
  std::condition_variable changed;
  int holds = 0;  // living PauseDeletions
  bool stopping = false;
  bool running = false;         // a task is queued or at work
  bool pending = false;         // something came since the task last listed the directory
  std::set<std::string> stuck;  // names that cannot be deleted; only the task touches this
  size_t count = 0;             // entries since the last rest; only the task touches this

  bool Pressing() const {
    struct statvfs info {};
    if (::fstatvfs(dir_fd.get(), &info) != 0 || info.f_blocks == 0) return false;
    return static_cast<double>(info.f_bavail) < options.pressing_free_share * static_cast<double>(info.f_blocks);
  }

  // False when it is time to stop. Waits while somebody holds the deletion.
  bool MayGoOn(bool rest) {
    bool pressing = Pressing();
    std::unique_lock lock(mutex);
    if (rest && !pressing) changed.wait_for(lock, options.rest, [&] { return stopping; });
    while (holds > 0 && !stopping && !pressing) {
      changed.wait_for(lock, std::chrono::seconds(5), [&] { return stopping || holds == 0; });
      lock.unlock();
      pressing = Pressing();
      lock.lock();
    }
    return !stopping;
  }

  bool Count() {
    if (++count < options.batch) return true;
    count = 0;
    return MayGoOn(true);
  }

  // kAborted: stopping. Names the entry in other errors.
  Status DeleteEntry(int parent, const std::string& name, int depth) {
    if (!Count()) return Aborted("stopping");
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM) return ErrnoError(errno, fmt::format("unlink {}", Printable(name)));
    if (depth >= kMaxDepth) {
      std::string up = RandomName();
      if (::renameat(parent, name.c_str(), dir_fd.get(), up.c_str()) == 0) return {};
      return ErrnoError(errno, fmt::format("rename {}", Printable(name)));
    }
    // An unpacker that outlived a killed daemon may still be adding files for a moment.
    int err = 0;
    for (int attempt = 0; attempt < 3; ++attempt) {
      Status emptied = DeleteContent(parent, name, depth);
      if (!emptied.ok()) return emptied.code() == StatusCode::kNotFound ? Status() : emptied;
      if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
      err = errno;
      if (err != ENOTEMPTY) break;
    }
    return ErrnoError(err, fmt::format("rmdir {}", Printable(name)));
  }

  Status DeleteContent(int parent, const std::string& name, int depth) {
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(parent, name));
    Status first;
    for (;;) {
      ASSIGN_OR_RETURN(std::optional<std::string> entry, directory.Next());
      if (!entry) return first;
      Status deleted = DeleteEntry(directory.fd(), *entry, depth + 1);
      if (deleted.code() == StatusCode::kAborted) return deleted;
      if (!deleted.ok() && first.ok()) first = deleted;  // the others may well go
    }
  }

  Result<std::vector<std::string>> ListDeletable() {
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, dir));
    std::vector<std::string> names;
    for (;;) {
      ASSIGN_OR_RETURN(std::optional<std::string> entry, directory.Next());
      if (!entry) return names;
      if (stuck.count(*entry) == 0) names.push_back(std::move(*entry));
    }
  }

  // True when there was something to do.
  bool DeleteListed() {
    Result<std::vector<std::string>> names = ListDeletable();
    if (!names.ok()) {
      LogWarning("empty {}: {}", dir, names.status().message());
      return false;
    }
    for (const std::string& name : *names) {
      if (!MayGoOn(false)) return false;
      Status deleted = DeleteEntry(dir_fd.get(), name, 0);
      if (deleted.code() == StatusCode::kAborted) return false;
      if (deleted.ok()) continue;
      LogWarning("empty trash: {}/{}: {}", dir, name, deleted.message());
      stuck.insert(name);
    }
    return !names->empty();
  }

  void Empty() {
    LowerPriority();
    for (;;) {
      {
        std::lock_guard guard(mutex);
        pending = false;
      }
      while (DeleteListed()) {
      }
      std::lock_guard guard(mutex);
      if (pending && !stopping) continue;
      running = false;
      changed.notify_all();
      return;
    }
  }
};

PauseDeletion::PauseDeletion(Trash& trash) {
  std::shared_ptr<Trash::State> state = trash.state_;
  {
    std::lock_guard guard(state->mutex);
    ++state->holds;
  }
  hold_ = std::shared_ptr<void>(nullptr, [state](void*) {
    std::lock_guard guard(state->mutex);
    --state->holds;
    state->changed.notify_all();
  });
}

PauseDeletion& PauseDeletion::operator=(PauseDeletion&& other) noexcept = default;
PauseDeletion::~PauseDeletion() = default;

Trash::Trash(std::shared_ptr<State> state)
    : state_(std::move(state)), pool_(std::make_unique<sched::ThreadPool>("davit-trash", 1)) {}

Trash::~Trash() {
  {
    std::lock_guard guard(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  pool_.reset();  // joins
}

Result<std::unique_ptr<Trash>> Trash::Open(const std::string& root, TrashOptions options) {
  auto state = std::make_shared<State>();
  state->dir = root + "/trash";
  state->options = options;
  RETURN_IF_ERROR(sys::MakeDirectories(root, 0700));
  RETURN_IF_ERROR(sys::MakeDirectories(state->dir, 0700));
  ASSIGN_OR_RETURN(state->dir_fd, sys::Open(state->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return std::unique_ptr<Trash>(new Trash(std::move(state)));
}

Status Trash::Discard(const std::string& path) {
  std::string name = RandomName();
  if (::renameat(AT_FDCWD, path.c_str(), state_->dir_fd.get(), name.c_str()) == 0) {
    FaultPoint("store.trash.discarded");
    Resume();
    return {};
  }
  if (errno == ENOENT) return {};
  if (errno == EXDEV) return sys::RemoveTree(path);
  if (errno == EBUSY) return FailedPrecondition(fmt::format("discard {}: it is a mount point", path));
  return ErrnoError(errno, fmt::format("move {} to {}", path, state_->dir));
}

void Trash::Resume() {
  {
    std::lock_guard guard(state_->mutex);
    state_->pending = true;
    if (state_->running || state_->stopping) return;
    state_->running = true;
  }
  pool_->Post([state = state_] { state->Empty(); });
}

bool Trash::WaitIdle(Deadline deadline) {
  std::unique_lock lock(state_->mutex);
  auto idle = [&] { return !state_->running; };
  if (deadline.infinite()) {
    state_->changed.wait(lock, idle);
    return true;
  }
  return state_->changed.wait_until(lock, deadline.at(), idle);
}

const std::string& Trash::dir() const { return state_->dir; }

}  // namespace davit::store
