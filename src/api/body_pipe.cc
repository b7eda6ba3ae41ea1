#include "api/body_pipe.h"

#include <utility>

namespace davit::api {

bool BodyPipe::Push(std::string bytes, std::function<void()> resume) {
  bool room = true;
  {
    std::lock_guard lock(mutex_);
    if (bytes_.empty()) {
      bytes_ = std::move(bytes);
    } else {
      bytes_ += bytes;
    }
    room = bytes_.size() < kHigh;
    if (!room) resume_ = std::move(resume);
  }
  changed_.notify_all();
  return room;
}

void BodyPipe::Finish() {
  {
    std::lock_guard lock(mutex_);
    finished_ = true;
  }
  changed_.notify_all();
}

void BodyPipe::Abort() {
  {
    std::lock_guard lock(mutex_);
    if (!finished_) aborted_ = true;
    finished_ = true;
    resume_ = nullptr;
  }
  changed_.notify_all();
}

Result<std::string> BodyPipe::Read() {
  std::function<void()> resume;
  std::string out;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !bytes_.empty() || finished_; });
    if (bytes_.empty() && aborted_) return Cancelled("the client went away in the middle of its request");
    out.swap(bytes_);
    resume.swap(resume_);
  }
  if (resume) resume();
  return out;
}

}  // namespace davit::api
