// IdleWorker: one thread for work that nobody waits for: it takes the processor and the disk only when nobody else
// wants them, and rests after each piece of work.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace davit::sched {

// The calling thread: the scheduler's batch class at the lowest priority, and the disk's idle class. Best effort.
// `name`: 15 bytes at most, what ps -L shows.
void BecomeIdle(const char* name);

// Thread-safe. The thread starts with the first task.
class IdleWorker {
 public:
  // What a task has of the worker that runs it.
  class Pace {
   public:
    // After a piece of work: rests `factor` times as long as the piece took. False: the worker ends, and so has the
    // task.
    [[nodiscard]] bool Rest(int factor);
    [[nodiscard]] bool ending() const;
    // False when the worker ended before the time was over.
    [[nodiscard]] bool Sleep(std::chrono::steady_clock::duration time);

   private:
    friend class IdleWorker;
    explicit Pace(IdleWorker& worker) : worker_(worker) {}
    IdleWorker& worker_;
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  };
  using Task = std::function<void(Pace&)>;

  explicit IdleWorker(std::string name) : name_(std::move(name)) {}
  // Drops what waits; the task that runs sees `ending`, and is waited for.
  ~IdleWorker();
  IdleWorker(const IdleWorker&) = delete;
  IdleWorker& operator=(const IdleWorker&) = delete;

  // One after the other, in order. False when there is no thread to be had, or the worker ends: the task is dropped.
  bool Post(Task task);

 private:
  void Run();

  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queue_;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace davit::sched
