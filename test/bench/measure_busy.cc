// Reads while much is written: the lists of many containers while pods come and go and some starts hang.

#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <thread>

#include "base/strings.h"
#include "measure.h"
#include "runtime/v1/cri.pb.h"
#include "sys/unique_fd.h"

namespace davit::bench {
namespace {

namespace cri = ::runtime::v1;
using Clock = std::chrono::steady_clock;

constexpr int kContainersOfAPod = 10;
constexpr std::chrono::milliseconds kBetweenReads{2};
constexpr std::chrono::seconds kHangPatience{60};

double Milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

// Processes stopped by a signal whose command line names one of `ids`: a runtime that hangs at its container.
std::vector<pid_t> StoppedRuntimes(const std::vector<std::string>& ids) {
  std::vector<pid_t> found;
  DIR* dir = ::opendir("/proc");
  if (dir == nullptr) return found;
  while (dirent* entry = ::readdir(dir)) {
    std::optional<uint64_t> pid = ParseUint64(entry->d_name);
    if (!pid) continue;
    const std::string folder = "/proc/" + std::to_string(*pid);
    Result<std::string> stat = sys::ReadFile(folder + "/stat", 4096);
    Result<std::string> line = sys::ReadFile(folder + "/cmdline", size_t{1} << 20);
    if (!stat.ok() || !line.ok() || stat->find(") T ") == std::string::npos) continue;
    for (const std::string& id : ids) {
      if (line->find(id) != std::string::npos) {
        found.push_back(static_cast<pid_t>(*pid));
        break;
      }
    }
  }
  ::closedir(dir);
  return found;
}

// Starts that hang, each in a thread and a pod of its own; they go on when this is destroyed.
class HangingStarts {
 public:
  ~HangingStarts() { Release(); }

  Status Begin(Engine& engine, const Plan& plan) {
    for (int i = 0; i < plan.busy_stuck; ++i) {
      ASSIGN_OR_RETURN(Pod pod, engine.RunPod(plan.stuck_handler));
      ASSIGN_OR_RETURN(std::string container, engine.Create(pod, plan.image));
      containers_.push_back(container);
      pods_.push_back(std::move(pod));
      threads_.emplace_back([&engine, container] { IgnoreError(engine.Start(container)); });
    }
    Clock::time_point limit = Clock::now() + kHangPatience;
    while (static_cast<int>(StoppedRuntimes(containers_).size()) < plan.busy_stuck) {
      if (Clock::now() > limit) return DeadlineExceeded("not all starts hang: is the handler one that stops itself?");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return {};
  }

  [[nodiscard]] size_t hanging() const { return StoppedRuntimes(containers_).size(); }
  [[nodiscard]] const std::vector<Pod>& pods() const { return pods_; }

  void Release() {
    for (pid_t pid : StoppedRuntimes(containers_)) ::kill(pid, SIGCONT);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::vector<std::string> containers_;
  std::vector<Pod> pods_;
  std::vector<std::thread> threads_;
};

// Pods that come and go until it is stopped, each thread over a connection of its own.
class Churn {
 public:
  explicit Churn(const Plan& plan) : plan_(plan) {}
  ~Churn() { IgnoreError(Stop()); }

  Status Begin() {
    for (int i = 0; i < plan_.busy_creators; ++i) {
      ASSIGN_OR_RETURN(auto engine, Engine::Connect(plan_.busy_endpoint, "", 0));
      engines_.push_back(std::move(engine));
      threads_.emplace_back([this, one = engines_.back().get()] {
        while (!stop_) {
          Status status = OnePod(*one);
          std::lock_guard lock(mutex_);
          if (first_error_.ok()) first_error_ = status;
          if (!status.ok()) return;
        }
      });
    }
    return {};
  }

  Status Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    engines_.clear();
    return first_error_;
  }

  // After Stop: milliseconds of RunPodSandbox + CreateContainer + StartContainer.
  [[nodiscard]] const std::vector<double>& starts() const { return starts_; }

 private:
  Status OnePod(Engine& engine) {
    Clock::time_point begin = Clock::now();
    ASSIGN_OR_RETURN(Pod pod, engine.RunPod());
    ASSIGN_OR_RETURN(std::string container, engine.Create(pod, plan_.image));
    RETURN_IF_ERROR(engine.Start(container));
    double took = Milliseconds(Clock::now() - begin);
    RETURN_IF_ERROR(engine.StopPod(pod));
    RETURN_IF_ERROR(engine.RemovePod(pod));
    std::lock_guard lock(mutex_);
    starts_.push_back(took);
    return {};
  }

  const Plan& plan_;
  std::atomic<bool> stop_{false};
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::vector<double> starts_;
  Status first_error_;
};

}  // namespace

// Version touches no state at all: what it takes under load is the machine's doing, not a wait for a write.
Status Bench::Reads(Engine& engine, const std::string& when) {
  struct Read {
    std::string name;
    std::function<Status()> call;
    std::vector<double> samples;
  };
  client::Client& client = engine.client();
  std::vector<Read> reads = {
      {"Version", [&] { return client.Call(cri::VersionRequest()).status(); }, {}},
      {"ListContainers", [&] { return client.Call(cri::ListContainersRequest()).status(); }, {}},
      {"ListPodSandbox", [&] { return client.Call(cri::ListPodSandboxRequest()).status(); }, {}}};
  Clock::time_point end = Clock::now() + std::chrono::seconds(plan_.busy_seconds);
  while (Clock::now() < end && !stop_) {
    std::this_thread::sleep_for(kBetweenReads);  // the reader is not what makes the machine busy
    for (Read& read : reads) {
      Clock::time_point begin = Clock::now();
      RETURN_IF_ERROR(read.call());
      read.samples.push_back(Milliseconds(Clock::now() - begin));
    }
  }
  for (const Read& read : reads) {
    const std::string measure = fmt::format("{}, {}", read.name, when);
    for (double sample : read.samples) report_.Add(measure, "ms", engine.name(), sample);
    report_.Add(measure + ": p99", "ms", engine.name(), Quantile(read.samples, 0.99));
    report_.Add(measure + ": slowest", "ms", engine.name(), Quantile(read.samples, 1));
  }
  return {};
}

Status Bench::Busy() {
  Engine& engine = *engines_.front();
  std::vector<Pod> pods;
  for (int made = 0; made < plan_.busy_containers && !stop_; ++made) {
    if (made % kContainersOfAPod == 0) {
      ASSIGN_OR_RETURN(Pod pod, engine.RunPod());
      pods.push_back(std::move(pod));
      if (made % 100 == 0) fmt::print(stderr, "{} of {} containers\n", made, plan_.busy_containers);
    }
    RETURN_IF_ERROR(engine.Create(pods.back(), plan_.image).status());
  }
  auto starts = [&](const Churn& churn, const std::string& when) {
    for (double ms : churn.starts()) report_.Add("run + create + start, " + when, "ms", engine.name(), ms);
  };
  RETURN_IF_ERROR(Reads(engine, "at rest"));
  {
    Churn churn(plan_);
    RETURN_IF_ERROR(churn.Begin());
    RETURN_IF_ERROR(Reads(engine, "pods come and go"));
    RETURN_IF_ERROR(churn.Stop());
    starts(churn, "nothing hangs");
  }
  if (!plan_.stuck_handler.empty()) {
    const std::string when = fmt::format("{} starts hang", plan_.busy_stuck);
    HangingStarts hanging;
    RETURN_IF_ERROR(hanging.Begin(engine, plan_));
    Churn churn(plan_);
    RETURN_IF_ERROR(churn.Begin());
    RETURN_IF_ERROR(Reads(engine, when));
    RETURN_IF_ERROR(churn.Stop());
    starts(churn, when);
    report_.Add("starts that still hang at the end", "starts", engine.name(), static_cast<double>(hanging.hanging()));
    hanging.Release();
    RETURN_IF_ERROR(RemoveAll(engine, hanging.pods()));
  }
  return RemoveAll(engine, pods);
}

}  // namespace davit::bench
