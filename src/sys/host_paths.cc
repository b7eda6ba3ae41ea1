#include "sys/host_paths.h"

#include <limits.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/strings.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

constexpr size_t kShown = 512;  // bytes of a path in a message

// Asked by one thread, waited for by another that may give up: owned by both.
struct Question {
  std::mutex mutex;
  std::condition_variable answered;
  std::optional<Result<std::string>> answer;  // these two guarded by mutex
  bool given_up = false;
};

Result<std::string> ResolveHere(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 && errno == ENOENT) RETURN_IF_ERROR(MakeDirectories(path, 0755));
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) return ErrnoError(errno, Printable(path, kShown));
  return std::string(resolved);
}

}  // namespace

struct HostPaths::Waiting {
  std::atomic<size_t> threads{0};
};

HostPaths::HostPaths(std::chrono::milliseconds patience, size_t max_waiting)
    : patience_(patience), max_waiting_(max_waiting), waiting_(std::make_shared<Waiting>()) {}

size_t HostPaths::waiting() const { return waiting_->threads; }

Result<std::string> HostPaths::Resolve(const std::string& path) const {
  if (waiting_->threads >= max_waiting_) {
    return ResourceExhausted(Printable(path, kShown) + ": " + std::to_string(max_waiting_) +
                             " other paths are waited for on file systems that do not answer");
  }
  auto question = std::make_shared<Question>();
  auto ask = [question, path, waiting = waiting_] {
    Result<std::string> answer = ResolveHere(path);
    std::lock_guard lock(question->mutex);
    question->answer = std::move(answer);
    question->answered.notify_one();
    if (question->given_up) --waiting->threads;
  };
  try {
    std::thread(ask).detach();
  } catch (const std::system_error& e) {  // the one way std::thread tells that there is no thread
    return ResourceExhausted(std::string("start thread: ") + e.what());
  }
  std::unique_lock lock(question->mutex);
  if (question->answered.wait_for(lock, patience_, [&] { return question->answer.has_value(); })) {
    return *std::move(question->answer);
  }
  question->given_up = true;
  ++waiting_->threads;
  return DeadlineExceeded(Printable(path, kShown) + ": its file system does not answer (is its server gone?)");
}

}  // namespace davit::sys
