#include "engine/sync_execs.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/strings.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

// After the process has ended, a grandchild may hold its pipes open for ever: this long its output is
// still waited for, then the descriptors close (CVE-2026-53495 class).
constexpr std::chrono::milliseconds kDrain{100};
constexpr size_t kReadChunk = 32 << 10;
// Starts of one container at a time, while most threads are free and while they are not.
constexpr size_t kStartsAtEase = 4;
constexpr size_t kManyStarts = 128;

}  // namespace

// Its fields are the loop thread's once it runs, but for `state`, which is under the owner's mutex.
struct SyncExecs::Job {
  enum class State { kQueued, kStarting, kRunning, kAnswered };

  ContainerId id;
  std::string command;
  std::chrono::seconds timeout;
  Deadline deadline = Deadline::Infinite();
  Begin begin;
  Answered done;
  State state = State::kQueued;
  sched::EventLoop::Token timer = 0;  // of the timeout; set before the job can start

  std::optional<RunningExec> running;
  std::array<sched::EventLoop::Token, 3> watches{};  // out, err, the session
  sched::EventLoop::Token drain = 0;
  bool ended = false;    // the process
  bool leaving = false;  // to the pool, for its end
  ExecOutput output;
  size_t room = kMaxExecOutput;

  // Reads once what is there; false at the end of the stream. Past the cap bytes are dropped unseen.
  bool Read(int fd, std::string& text) {
    std::array<char, kReadChunk> buffer;
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    size_t kept = std::min(room, static_cast<size_t>(n));
    text.append(buffer.data(), kept);
    room -= kept;
    return n > 0;
  }

  [[nodiscard]] Status TimedOut() const {
    return DeadlineExceeded("command " + Printable(command) + " timed out after " + std::to_string(timeout.count()) +
                            " s and was killed");
  }
};

Result<std::unique_ptr<SyncExecs>> SyncExecs::Start(sched::ThreadPool& pool, size_t max_total) {
  std::unique_ptr<SyncExecs> self(new SyncExecs(pool, max_total));
  ASSIGN_OR_RETURN(self->loop_, sched::EventLoop::Start("davit-exec-io"));
  return self;
}

SyncExecs::~SyncExecs() { Stop(); }

void SyncExecs::Run(const ContainerId& id, const std::string& command, std::chrono::seconds timeout, Begin begin,
                    Answered done) {
  auto job = std::make_shared<Job>();
  job->id = id;
  job->command = command;
  job->timeout = timeout;
  job->deadline = timeout.count() > 0 ? Deadline::After(timeout) : Deadline::Infinite();
  job->begin = std::move(begin);
  job->done = std::move(done);
  Status refused;
  {
    std::lock_guard lock(mutex_);
    auto share = shares_.find(id);
    size_t mine = share == shares_.end() ? 0 : share->second.all;
    size_t free = max_total_ - std::min(max_total_, jobs_.size());
    if (stopped_) {
      refused = Unavailable("davitd ends");
    } else if (mine >= free) {
      refused = ResourceExhausted(std::to_string(mine) + " commands of container " + id.Short() +
                                  " run, and no more of it while " + std::to_string(jobs_.size()) + " run on the node");
    } else {
      jobs_.insert(job);
      if (timeout.count() > 0) job->timer = loop_->After(timeout, [this, job] { OnTime(job); });
      Share& own = shares_[id];
      ++own.all;
      own.queued.push_back(job);
      StartSome(own);
    }
  }
  if (!refused.ok()) job->done(refused);
}

void SyncExecs::StartSome(Share& share) {
  while (!share.queued.empty() && share.starting < (starting_ < kManyStarts ? kStartsAtEase : 1)) {
    std::shared_ptr<Job> job = std::move(share.queued.front());
    share.queued.pop_front();
    job->state = Job::State::kStarting;
    ++share.starting;
    ++starting_;
    pool_.Post([this, job] { StartNow(job); });
  }
}

void SyncExecs::StartNow(const std::shared_ptr<Job>& job) {
  Result<RunningExec> begun = job->begin(job->deadline);
  job->begin = nullptr;
  bool wanted = false;
  {
    std::lock_guard lock(mutex_);
    --starting_;
    if (auto share = shares_.find(job->id); share != shares_.end()) {
      --share->second.starting;
      StartSome(share->second);
    }
    wanted = job->state == Job::State::kStarting && !stopped_;
    if (wanted && begun.ok()) {
      job->state = Job::State::kRunning;
      job->running.emplace(std::move(*begun));
      loop_->Post([this, job] { Watch(job); });
    }
  }
  if (wanted && !begun.ok()) Answer(job, begun.status());
}

// On the loop's thread.
void SyncExecs::Watch(const std::shared_ptr<Job>& job) {
  const std::array<int, 3> fds{job->running->out.get(), job->running->err.get(), job->running->session.fd()};
  for (size_t i = 0; i < fds.size(); ++i) {
    auto watch = loop_->Watch(fds[i], EPOLLIN, [this, job, i](uint32_t) {
      if (i < 2) {
        sys::UniqueFd& fd = i == 0 ? job->running->out : job->running->err;
        if (job->Read(fd.get(), i == 0 ? job->output.out : job->output.err)) return;
        loop_->Remove(std::exchange(job->watches[i], 0));  // before the descriptor closes
        fd.reset();
      } else {
        loop_->Remove(std::exchange(job->watches[i], 0));
        job->ended = true;
        job->drain = loop_->After(kDrain, [this, job] { End(job, {}); });
      }
      if (job->ended && !job->running->out.valid() && !job->running->err.valid()) End(job, {});
    });
    if (!watch.ok()) {
      End(job, watch.status());
      return;
    }
    job->watches[i] = *watch;
  }
  if (job->deadline.expired()) End(job, job->TimedOut());  // the timer met it while it was starting
}

// On the loop's thread.
void SyncExecs::OnTime(const std::shared_ptr<Job>& job) {
  {
    std::lock_guard lock(mutex_);
    if (job->state == Job::State::kStarting || job->state == Job::State::kAnswered) return;  // it looks itself
    if (job->state == Job::State::kQueued) std::erase(shares_[job->id].queued, job);
  }
  if (job->running) {
    End(job, job->TimedOut());
  } else {
    Answer(job, job->TimedOut());
  }
}

// On the loop's thread: what may block is the pool's. `kill`: why; OK: it has ended.
void SyncExecs::End(const std::shared_ptr<Job>& job, const Status& kill) {
  if (std::exchange(job->leaving, true)) return;
  for (sched::EventLoop::Token& watch : job->watches) {
    if (watch != 0) loop_->Remove(std::exchange(watch, 0));
  }
  if (job->drain != 0) loop_->Remove(std::exchange(job->drain, 0));
  job->running->out.reset();
  job->running->err.reset();
  std::lock_guard lock(mutex_);
  if (stopped_) return;
  pool_.Post([this, job, kill] {
    Result<ExecOutput> result = kill.ok() ? Internal("no outcome") : kill;
    if (!kill.ok()) {
      Status killed = job->running->session.Kill(Deadline::After(kKillBudget));
      if (!killed.ok()) result = killed;
    } else if (Result<int> code = job->running->session.Wait(Deadline::After(kKillBudget)); code.ok()) {
      job->output.exit_code = *code;
      result = std::move(job->output);
    } else {
      result = code.status();
    }
    job->running.reset();
    Answer(job, result);
  });
}

void SyncExecs::Answer(const std::shared_ptr<Job>& job, const Result<ExecOutput>& result) {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(job->state, Job::State::kAnswered) == Job::State::kAnswered) return;
    jobs_.erase(job);
    auto share = shares_.find(job->id);
    // One whose begin outlives its answer still counts as starting.
    if (share != shares_.end() && --share->second.all == 0 && share->second.starting == 0) shares_.erase(share);
  }
  // Not under the lock: it waits for a callback that runs, which may want it.
  if (job->timer != 0) loop_->Remove(job->timer);
  job->done(result);
}

void SyncExecs::Stop() {
  std::set<std::shared_ptr<Job>> left;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    left = jobs_;
    for (auto& [id, share] : shares_) share.queued.clear();
  }
  for (const std::shared_ptr<Job>& job : left) Answer(job, Unavailable("davitd ends"));
}

}  // namespace davit::engine
