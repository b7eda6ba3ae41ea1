// BodyPipe: a request's body on its way from the connection's thread to the one that handles the request.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "base/result.h"

namespace davit::api {

class BodyPipe {
 public:
  static constexpr size_t kHigh = 1u << 20;  // the client waits while so much lies here

  // ---- The connection's side ----
  // False: it is full for now, `resume` will be called (on the reader's thread).
  bool Push(std::string bytes, std::function<void()> resume);
  void Finish();  // nothing more comes
  void Abort();   // nothing more comes, and it is not whole

  // ---- The reader's side ----
  // What is there, at least one byte; empty at the end. kCancelled when the client went away before it.
  Result<std::string> Read();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string bytes_;
  std::function<void()> resume_;
  bool finished_ = false;
  bool aborted_ = false;
};

}  // namespace davit::api
