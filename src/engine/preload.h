// Preload: archives and OCI layouts of a directory, loaded in the background at the start (image.preload_dir).
//
// In lexical order, each once: a file is known by its name, size, time and inode (of a layout directory: its
// index.json), kept in an intent "preload/<name>" after all images of it are in the store. So a changed file is loaded
// again, one that was interrupted too, and one whose images somebody removed is not. Names with a dot in front are left
// out. The directory has to be davitd's user's, and nobody else may write to it, for its archives name images as they
// like.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/puller.h"
#include "sched/thread_pool.h"
#include "store/database.h"

namespace davit::engine {

// Thread-safe.
class Preload {
 public:
  // Loads one image of an archive; on the thread of this object, which it may block. kCancelled by the cancel.
  using Load = std::function<Result<image::Puller::Loaded>(const std::string& path, uint32_t image,
                                                           const image::PullCancel& cancel)>;
  struct State {
    bool running = false;
    uint32_t files = 0;               // in the directory
    uint32_t known = 0;               // of an earlier start
    uint32_t loaded = 0;              // now
    uint32_t images = 0;              // in these
    uint32_t failed = 0;              // tried again at the next start
    std::string current;              // the one that is being loaded
    std::vector<std::string> errors;  // "file: why", the first ones
  };

  static Result<std::unique_ptr<Preload>> Create(store::Database& database, std::string directory, Load load);
  ~Preload();  // ends what is running

  // Once. Nothing when the directory is not there, or its name is empty.
  void Start();
  [[nodiscard]] State Read() const;
  // For people; empty: there is nothing to say.
  [[nodiscard]] std::string Summary() const;
  // " (... is being loaded: ...)" while it is running, for errors of pulls.
  [[nodiscard]] std::string Hint() const;
  // Images of a file that were found damaged and are gone: the file is loaded again at once.
  void ImageLost(const std::string& id);

 private:
  Preload(store::Database& database, std::string directory, Load load, std::unique_ptr<image::PullCancel> cancel);
  void Run();
  Result<std::vector<std::string>> Names() const;
  Status One(const std::string& name);
  void Fail(const std::string& name, const Status& why);

  store::Database& database_;
  const std::string directory_;
  const Load load_;
  const std::unique_ptr<image::PullCancel> cancel_;
  std::atomic<bool> ending_ = false;
  mutable std::mutex mutex_;
  State state_;
  std::unique_ptr<sched::ThreadPool> pool_;
};

}  // namespace davit::engine
