// ExecSessions: the execs that clients have made, started or not, in memory. One that is over is kept for five minutes,
// so that its exit code can be asked for; one that nobody starts as long.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace davit::api {

struct ExecSession {
  std::string id;
  std::string container;
  std::vector<std::string> command;
  std::vector<std::string> envs;
  std::string user;
  std::string working_dir;
  std::string detach_keys;
  bool tty = false;
  bool in = false;
  bool out = false;
  bool err = false;
  bool privileged = false;
  bool started = false;
  bool running = false;
  std::optional<int> exit_code;
};

class ExecSessions {
 public:
  static constexpr size_t kMost = 4096;

  // The id of a new one. kResourceExhausted when there are too many.
  Result<std::string> Add(ExecSession session);
  [[nodiscard]] Result<ExecSession> Find(const std::string& id) const;
  // kFailedPrecondition when it was started before.
  Status MarkStarted(const std::string& id);
  void MarkEnded(const std::string& id, int exit_code);
  [[nodiscard]] std::vector<std::string> OfContainer(const std::string& container) const;

 private:
  struct Kept {
    ExecSession session;
    std::chrono::steady_clock::time_point touched;
  };
  void Prune();

  mutable std::mutex mutex_;
  std::map<std::string, Kept> sessions_;
};

// 64 hexadecimal digits that nobody can guess.
std::string NewId();

}  // namespace davit::api
