#include "cli/exit_wait.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace davit::cli {
namespace {

using control::v1::WaitContainerResponse;

constexpr int kMostReconnects = 60;
constexpr std::chrono::milliseconds kBetweenReconnects{500};

}  // namespace

struct ExitWait::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool begun = false;
  std::optional<int> code;
  std::string error;
  std::optional<Status> end;
};

ExitWait::ExitWait(client::Client& client, const std::string& container, control::v1::WaitCondition condition)
    : client_(client), shared_(std::make_shared<Shared>()) {
  request_.set_container(container);
  request_.set_condition(condition);
  Subscribe();
}

ExitWait::~ExitWait() = default;

void ExitWait::Subscribe() {
  subscription_ = client_.Wait(
      request_,
      [shared = shared_](const WaitContainerResponse& message) {
        std::lock_guard lock(shared->mutex);
        shared->begun = true;
        if (message.done()) {
          shared->code = message.exit_code();
          shared->error = message.error();
        }
        shared->changed.notify_all();
      },
      [shared = shared_](const Status& status) {
        std::lock_guard lock(shared->mutex);
        shared->end = status;
        shared->changed.notify_all();
      });
}

Status ExitWait::Begun() {
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait(lock, [&] { return shared_->begun || shared_->end; });
  return shared_->begun ? Status() : *shared_->end;
}

Result<int> ExitWait::Take() {
  for (int reconnects = 0;; ++reconnects) {
    {
      std::unique_lock lock(shared_->mutex);
      shared_->changed.wait(lock, [&] { return shared_->code || shared_->end; });
      if (shared_->code) return *shared_->code;
      const bool again = shared_->begun && shared_->end->code() == StatusCode::kUnavailable;
      if (!again || reconnects == kMostReconnects) {
        return shared_->end->ok() ? Unavailable("wait: the server ended it without an exit code") : *shared_->end;
      }
      shared_->end.reset();
    }
    // The next exit may have been while nobody looked: its code is in the record then.
    if (request_.condition() == control::v1::WAIT_NEXT_EXIT) request_.set_condition(control::v1::WAIT_EXITED);
    std::this_thread::sleep_for(kBetweenReconnects);
    Subscribe();
  }
}

Result<std::optional<int>> ExitWait::TakeWithin(std::chrono::milliseconds time) {
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait_for(lock, time, [&] { return shared_->code || shared_->end; });
  if (shared_->code) return shared_->code;
  if (shared_->end && !shared_->end->ok()) return *shared_->end;
  return std::optional<int>();
}

}  // namespace davit::cli
