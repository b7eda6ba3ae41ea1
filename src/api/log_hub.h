// LogHub: one thread that looks after all who follow logs, and after all who wait for a container where the runtime has
// no call for that. It sleeps while there is nobody.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/engine.h"
#include "api/exchange.h"
#include "api/log_frames.h"
#include "client/log_reader.h"

namespace davit::api {

class LogHub {
 public:
  explicit LogHub(Engine& engine) : engine_(engine) {}
  ~LogHub();

  // Follows `file` from where it is until the container has ended, and ends the exchange then.
  void Follow(ExchangePtr exchange, std::string container, client::LogFile file, LogFrames frames);

  // Calls `done`, once, on this thread, when `holds` is true of the container (nullptr: it has gone). Looks every
  // quarter of a second; ends without a call when the exchange's client leaves.
  void WaitFor(const ExchangePtr& exchange, std::string container, std::function<bool(const control::Container*)> holds,
               std::function<void(const control::Container*)> done);

  [[nodiscard]] size_t followers() const;

 private:
  struct Follower {
    ExchangePtr exchange;
    std::string container;
    client::LogFile file;
    LogFrames frames;
  };
  struct Waiter {
    ExchangePtr exchange;
    std::string container;
    std::function<bool(const control::Container*)> holds;
    std::function<void(const control::Container*)> done;
  };
  void Ensure();
  void Run();
  static bool Drain(Follower& follower, bool ended);  // false: over

  Engine& engine_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Follower>> followers_;
  std::vector<Waiter> waiters_;
  bool stopping_ = false;
  bool running_ = false;
  std::thread thread_;
};

}  // namespace davit::api
