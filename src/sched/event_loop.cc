#include "sched/event_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "sys/unique_fd.h"

namespace davit::sched {
namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kWakeToken = 0;
constexpr size_t kEventsPerRound = 64;

}  // namespace

struct EventLoop::State {
  // Callbacks are shared so that one which removes itself lives until it returns.
  struct WatchEntry {
    int fd;
    std::shared_ptr<Callback> callback;
  };
  struct TimerEntry {
    std::multimap<Clock::time_point, Token>::iterator due;
    std::shared_ptr<std::function<void()>> callback;
  };

  sys::UniqueFd epoll;
  sys::UniqueFd wake;
  std::thread thread;

  std::mutex mutex;
  std::condition_variable idle;  // `running` changed
  std::unordered_map<Token, WatchEntry> watches;
  std::unordered_map<Token, TimerEntry> timers;
  std::multimap<Clock::time_point, Token> due;
  std::vector<std::function<void()>> posted;
  Token next_token = 1;
  Token running = 0;  // whose callback runs now
  bool stopping = false;

  [[nodiscard]] bool OnLoopThread() const { return std::this_thread::get_id() == thread.get_id(); }
  void Wake() const;
  void Run(const std::string& name);
  int TimeoutMs();
  void RunWatch(Token token, uint32_t events);
  void RunDueTimers();
  void RunPosted();
  void Finish();
};

void EventLoop::State::Wake() const {
  // Adds to a counter: fails only with EAGAIN near 2^64, when a wake-up is due anyway.
  ::eventfd_write(wake.get(), 1);
}

int EventLoop::State::TimeoutMs() {
  std::lock_guard lock(mutex);
  if (stopping || !posted.empty()) return 0;
  if (due.empty()) return -1;
  Clock::duration left = due.begin()->first - Clock::now();
  return Deadline::After(left).PollTimeoutMs();
}

void EventLoop::State::Run(const std::string& name) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
  std::array<epoll_event, kEventsPerRound> events{};
  for (;;) {
    int n = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), TimeoutMs());
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.u64 != kWakeToken) {
        RunWatch(event.data.u64, event.events);
        continue;
      }
      eventfd_t count = 0;
      ::eventfd_read(wake.get(), &count);
    }
    RunPosted();
    {
      std::lock_guard lock(mutex);
      // Tasks may have come since RunPosted took its share; what was posted before the end still runs.
      if (stopping && posted.empty()) return;
    }
    RunDueTimers();
  }
}

void EventLoop::State::RunWatch(Token token, uint32_t events) {
  std::shared_ptr<Callback> callback;
  {
    std::lock_guard lock(mutex);
    auto it = watches.find(token);
    if (it == watches.end()) return;  // removed since epoll_wait returned
    callback = it->second.callback;
    running = token;
  }
  (*callback)(events);
  callback.reset();  // before Finish: after Remove nothing of the callback is left
  Finish();
}

void EventLoop::State::RunDueTimers() {
  // Only those due now: a timer that sets itself again with no delay must not starve descriptors.
  Clock::time_point now = Clock::now();
  for (;;) {
    std::shared_ptr<std::function<void()>> callback;
    Token token = 0;
    {
      std::lock_guard lock(mutex);
      if (due.empty() || due.begin()->first > now) return;
      token = due.begin()->second;
      auto it = timers.find(token);
      callback = std::move(it->second.callback);
      due.erase(due.begin());
      timers.erase(it);
      running = token;
    }
    (*callback)();
    callback.reset();
    Finish();
  }
}

void EventLoop::State::Finish() {
  {
    std::lock_guard lock(mutex);
    running = 0;
  }
  idle.notify_all();
}

void EventLoop::State::RunPosted() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(mutex);
    tasks.swap(posted);
  }
  for (std::function<void()>& task : tasks) {
    task();
    task = nullptr;
  }
}

EventLoop::EventLoop(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<EventLoop>> EventLoop::Start(std::string thread_name) {
  auto state = std::make_unique<State>();
  state->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!state->epoll.valid()) return ErrnoError(errno, "event loop " + thread_name + ": epoll_create1");
  state->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->wake.valid()) return ErrnoError(errno, "event loop " + thread_name + ": eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeToken;
  if (::epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->wake.get(), &event) != 0) {
    return ErrnoError(errno, "event loop " + thread_name + ": epoll_ctl");
  }
  try {
    // The lock makes the new thread see its own handle, which OnLoopThread reads.
    std::lock_guard lock(state->mutex);
    state->thread = std::thread([raw = state.get(), name = thread_name] {
      { std::lock_guard started(raw->mutex); }
      raw->Run(name);
    });
  } catch (const std::system_error& error) {
    return ResourceExhausted("event loop " + thread_name + ": start thread: " + error.what());
  }
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(state)));
}

EventLoop::~EventLoop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->Wake();
  state_->thread.join();
}

Result<EventLoop::Token> EventLoop::Watch(int fd, uint32_t epoll_events, Callback callback) {
  std::lock_guard lock(state_->mutex);
  Token token = state_->next_token++;
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = token;
  if (::epoll_ctl(state_->epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoError(errno, "watch descriptor " + std::to_string(fd));
  }
  state_->watches.emplace(token, State::WatchEntry{fd, std::make_shared<Callback>(std::move(callback))});
  return token;
}

void EventLoop::Remove(Token token) {
  // Declared before the lock: what the callback captured is destroyed outside of it, since that may
  // call back into the loop.
  std::shared_ptr<Callback> watch;
  std::shared_ptr<std::function<void()>> timer;
  std::unique_lock lock(state_->mutex);
  if (auto it = state_->watches.find(token); it != state_->watches.end()) {
    ::epoll_ctl(state_->epoll.get(), EPOLL_CTL_DEL, it->second.fd, nullptr);
    watch = std::move(it->second.callback);
    state_->watches.erase(it);
  } else if (auto timer_it = state_->timers.find(token); timer_it != state_->timers.end()) {
    timer = std::move(timer_it->second.callback);
    state_->due.erase(timer_it->second.due);
    state_->timers.erase(timer_it);
  }
  if (state_->OnLoopThread()) return;
  state_->idle.wait(lock, [&] { return state_->running != token; });
}

EventLoop::Token EventLoop::After(Clock::duration delay, std::function<void()> callback) {
  Clock::time_point at = Deadline::After(delay).at();
  bool earliest = false;
  Token token = 0;
  {
    std::lock_guard lock(state_->mutex);
    token = state_->next_token++;
    auto due = state_->due.emplace(at, token);
    earliest = due == state_->due.begin();
    state_->timers.emplace(token, State::TimerEntry{due, std::make_shared<std::function<void()>>(std::move(callback))});
  }
  if (earliest && !state_->OnLoopThread()) state_->Wake();
  return token;
}

void EventLoop::Post(std::function<void()> task) {
  {
    std::lock_guard lock(state_->mutex);
    state_->posted.push_back(std::move(task));
    if (state_->posted.size() > 1) return;  // the one before has woken the loop
  }
  if (!state_->OnLoopThread()) state_->Wake();
}

}  // namespace davit::sched
