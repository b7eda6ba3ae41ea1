#include "image/blob_pieces.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "image/out_of_memory.h"
#include "sched/start_thread.h"

namespace davit::image {
namespace {

class Pieces {
 public:
  Pieces(const PiecesOptions& options, const FetchPiece& fetch)
      : options_(options), fetch_(fetch), count_((options.size - options.begin + options.piece - 1) / options.piece) {}
  ~Pieces() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;

  Status Start() {
    const uint64_t wanted = std::min<uint64_t>(options_.connections, count_);
    for (uint32_t connection = 0; connection < wanted; ++connection) {
      ASSIGN_OR_RETURN(std::thread thread, sched::StartThread([this, connection] { Work(connection); }));
      threads_.push_back(std::move(thread));
    }
    return {};
  }

  // The next one, in order; nothing after the last.
  Result<std::optional<std::string>> Next() {
    std::unique_lock lock(mutex_);
    if (wanted_ == count_) return std::optional<std::string>();
    changed_.wait(lock, [&] { return there_.count(wanted_) != 0; });
    Result<std::string> piece = std::move(there_.extract(wanted_).mapped());
    ++wanted_;
    changed_.notify_all();
    if (!piece.ok()) return piece.status();
    return std::optional<std::string>(std::move(*piece));
  }

 private:
  bool MayFetch() const { return next_ < count_ && next_ <= wanted_ + options_.connections; }

  void Work(uint32_t connection) {
    while (true) {
      uint64_t number = 0;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || next_ == count_ || MayFetch(); });
        if (ended_ || next_ == count_) return;
        number = next_++;
      }
      const uint64_t offset = options_.begin + number * options_.piece;
      Result<std::string> piece = OutOfMemoryAsStatus([&] {
        return fetch_(connection, offset, std::min(options_.piece, options_.size - offset), [this] {
          std::lock_guard lock(mutex_);
          return !ended_;
        });
      });
      const bool failed = !piece.ok();
      std::lock_guard lock(mutex_);
      there_.emplace(number, std::move(piece));
      if (failed) next_ = count_;  // nothing behind it is of use
      changed_.notify_all();
    }
  }

  const PiecesOptions& options_;
  const FetchPiece& fetch_;
  const uint64_t count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t next_ = 0;    // to be fetched
  uint64_t wanted_ = 0;  // to be given on
  bool ended_ = false;
  std::map<uint64_t, Result<std::string>> there_;
  std::vector<std::thread> threads_;
};

}  // namespace

Status FetchInPieces(const PiecesOptions& options, const FetchPiece& fetch,
                     const std::function<Status(std::string_view)>& sink) {
  Pieces pieces(options, fetch);
  RETURN_IF_ERROR(pieces.Start());
  while (true) {
    ASSIGN_OR_RETURN(std::optional<std::string> piece, pieces.Next());
    if (!piece) return {};
    RETURN_IF_ERROR(sink(*piece));
  }
}

}  // namespace davit::image
