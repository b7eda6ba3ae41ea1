// Trash: directories that nobody uses any more, deleted slowly in the background.
//
// Why not at once: RemoveContainer and RemoveImage must not wait for a walk over 50,000 files, and on
// ext4 creating files just after deleting many costs seconds of system time (the allocator steps over
// each inode freed in the last seconds). So a tree is renamed into <root>/trash, which is one system
// call and survives SIGKILL, and a thread of low priority empties that, throttled, and not at all
// while a pull is running. When the disk is nearly full, space beats both courtesies.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::sched {
class ThreadPool;
}

namespace davit::store {

struct TrashOptions {
  // After each `batch` entries the thread rests for `rest`: 4,000 entries a second as it stands.
  size_t batch = 200;
  std::chrono::milliseconds rest{50};
  // With less than this share of the filesystem free, there is neither rest nor pause.
  double pressing_free_share = 0.10;
};

class Trash;

// While one of these lives, the trash is left alone. Move-only; may outlive the Trash.
class PauseDeletion {
 public:
  explicit PauseDeletion(Trash& trash);
  PauseDeletion(PauseDeletion&&) noexcept = default;
  PauseDeletion& operator=(PauseDeletion&& other) noexcept;
  ~PauseDeletion();

 private:
  std::shared_ptr<void> hold_;
};

// Thread-safe. No thread while there is nothing to delete.
class Trash {
 public:
  // Creates <root>/trash (0700). What an earlier process left there is deleted after the first
  // Resume() or Discard().
  static Result<std::unique_ptr<Trash>> Open(const std::string& root, TrashOptions options = {});
  ~Trash();  // stops within one batch; the rest stays for the next start
  Trash(const Trash&) = delete;
  Trash& operator=(const Trash&) = delete;

  // Moves a directory or file of the same filesystem into the trash. A path that is not there is OK.
  // On another filesystem it is removed before this returns. kFailedPrecondition: it is a mount point.
  Status Discard(const std::string& path);

  // Goes on with what is in the directory.
  void Resume();

  // True once all that can be deleted is. What cannot (a mount below, an immutable file) is logged and
  // left for the next start.
  bool WaitIdle(Deadline deadline);

  [[nodiscard]] const std::string& dir() const;

 private:
  friend class PauseDeletion;
  struct State;
  explicit Trash(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
  std::unique_ptr<sched::ThreadPool> pool_;  // not in State: its own thread must not be the last to drop it
};

}  // namespace davit::store
