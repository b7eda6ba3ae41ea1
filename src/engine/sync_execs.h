// SyncExecs: the processes of ExecSync, from the request to the answer.
//
// No thread waits for a process: an event loop of their own copies the output, and the pool only starts and ends them.
// So commands that never end hold descriptors and nothing else, and those are shared: of what is free each container
// may have at most half, whatever the total. A container whose processes cannot even be started (it is paused, its
// runtime hangs) holds few of the pool's threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/deadline.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/engine.h"
#include "monitor/client.h"
#include "sched/event_loop.h"
#include "sched/thread_pool.h"
#include "sys/unique_fd.h"

namespace davit::engine {

// A process that runs, and the readers' ends of its output.
struct RunningExec {
  monitor::ExecSession session;
  sys::UniqueFd out;
  sys::UniqueFd err;
};

class SyncExecs {
 public:
  using Begin = std::function<Result<RunningExec>(Deadline)>;  // on the pool
  using Answered = Done<ExecOutput>;                           // once, on any thread

  // `pool` outlives Stop, and this object the pool.
  static Result<std::unique_ptr<SyncExecs>> Start(sched::ThreadPool& pool, size_t max_total);
  ~SyncExecs();

  // Any thread. What is past kMaxExecOutput of the two streams is read and dropped. Errors: those of `begin`;
  // kResourceExhausted naming the container when its share is used up; kDeadlineExceeded after `timeout` (0: none), and
  // then the process is killed; kUnavailable after Stop.
  void Run(const ContainerId& id, const std::string& command, std::chrono::seconds timeout, Begin begin, Answered done);

  // Answers all that run; their processes are killed with this object. Nothing is posted to the pool any more.
  void Stop();

 private:
  struct Job;
  struct Share {
    size_t all = 0;       // requests that have no answer yet
    size_t starting = 0;  // of them: on a thread of the pool
    std::deque<std::shared_ptr<Job>> queued;
  };

  explicit SyncExecs(sched::ThreadPool& pool, size_t max_total) : pool_(pool), max_total_(max_total) {}
  void StartSome(Share& share);  // with mutex_ held
  void StartNow(const std::shared_ptr<Job>& job);
  void OnTime(const std::shared_ptr<Job>& job);
  void Watch(const std::shared_ptr<Job>& job);
  void End(const std::shared_ptr<Job>& job, const Status& kill);
  void Answer(const std::shared_ptr<Job>& job, const Result<ExecOutput>& result);

  sched::ThreadPool& pool_;
  const size_t max_total_;
  std::unique_ptr<sched::EventLoop> loop_;
  std::mutex mutex_;
  bool stopped_ = false;
  size_t starting_ = 0;
  std::map<ContainerId, Share> shares_;
  std::set<std::shared_ptr<Job>> jobs_;
};

}  // namespace davit::engine
