#include "measure.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "processes.h"
#include "runtime/v1/cri.pb.h"

namespace davit::bench {
namespace {

namespace cri = ::runtime::v1;

constexpr int kContainersOfAPod = 10;
constexpr int kListCalls = 30;
constexpr int kExecs = 3;
constexpr std::chrono::milliseconds kSettle{1000};

class Watch {
 public:
  // Milliseconds since the last call.
  double Lap() {
    auto now = std::chrono::steady_clock::now();
    double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

std::vector<Engine*> Bench::Order(int i) const {
  std::vector<Engine*> order = engines_;
  if (i % 2 == 1) std::reverse(order.begin(), order.end());
  return order;
}

Status Bench::OneLife(Engine& engine, bool record) {
  auto add = [&](const char* measure, double ms) {
    if (record) report_.Add(measure, "ms", engine.name(), ms);
  };
  Watch watch;
  ASSIGN_OR_RETURN(Pod pod, engine.RunPod());
  double run = watch.Lap();
  ASSIGN_OR_RETURN(std::string container, engine.Create(pod, plan_.image));
  double create = watch.Lap();
  RETURN_IF_ERROR(engine.Start(container));
  double start = watch.Lap();
  add("run + create + start", run + create + start);
  add("RunPodSandbox", run);
  add("CreateContainer", create);
  add("StartContainer", start);
  for (int i = 0; i < kExecs; ++i) {
    watch.Lap();
    ASSIGN_OR_RETURN(int code, engine.ExecTrue(container));
    add("ExecSync true", watch.Lap());
    if (code != 0) return Internal(fmt::format("exec of true: exit code {}", code));
  }
  watch.Lap();
  RETURN_IF_ERROR(engine.Stop(container));
  double stop = watch.Lap();
  RETURN_IF_ERROR(engine.StopPod(pod));
  double stop_pod = watch.Lap();
  RETURN_IF_ERROR(engine.RemovePod(pod));
  double remove = watch.Lap();
  add("stop + remove", stop + stop_pod + remove);
  add("StopContainer", stop);
  add("StopPodSandbox", stop_pod);
  add("RemovePodSandbox", remove);
  return {};
}

Status Bench::LifeCycle() {
  for (int i = -plan_.warmup; i < plan_.iterations && !stop_; ++i) {
    for (Engine* engine : Order(i + plan_.warmup)) RETURN_IF_ERROR(OneLife(*engine, i >= 0).Annotate(engine->name()));
  }
  return {};
}

Status Bench::RemoveAll(Engine& engine, const std::vector<Pod>& pods) {
  for (const Pod& pod : pods) {
    RETURN_IF_ERROR(engine.StopPod(pod));
    RETURN_IF_ERROR(engine.RemovePod(pod));
  }
  return {};
}

Status Bench::List() {
  std::vector<std::vector<Pod>> pods(engines_.size());
  for (size_t e = 0; e < engines_.size(); ++e) {
    for (int made = 0; made < plan_.list_at && !stop_; ++made) {
      if (made % kContainersOfAPod == 0) {
        ASSIGN_OR_RETURN(Pod pod, engines_[e]->RunPod());
        pods[e].push_back(std::move(pod));
      }
      ASSIGN_OR_RETURN(std::string container, engines_[e]->Create(pods[e].back(), plan_.image));
      RETURN_IF_ERROR(engines_[e]->Start(container));
    }
  }
  for (int i = 0; i < kListCalls && !stop_; ++i) {
    for (Engine* engine : Order(i)) {
      Watch watch;
      ASSIGN_OR_RETURN(cri::ListContainersResponse list, engine->client().Call(cri::ListContainersRequest()));
      if (list.containers_size() < plan_.list_at)
        return Internal(fmt::format("the list has {} containers", list.containers_size()));
      report_.Add(fmt::format("ListContainers at {}", plan_.list_at), "ms", engine->name(), watch.Lap());
      RETURN_IF_ERROR(engine->client().Call(cri::ListPodSandboxRequest()).status());
      report_.Add(fmt::format("ListPodSandbox at {} containers", plan_.list_at), "ms", engine->name(), watch.Lap());
    }
  }
  for (size_t e = 0; e < engines_.size(); ++e) RETURN_IF_ERROR(RemoveAll(*engines_[e], pods[e]));
  return {};
}

Status Bench::MemoryOf(Engine& engine) {
  ProcessTable before = ReadProcesses();
  auto megabytes = [](double bytes) { return bytes / 1e6; };
  report_.Add("daemon PSS before", "MB", engine.name(),
              megabytes(static_cast<double>(PssBytes(engine.daemon()).value_or(0))));
  std::vector<Pod> pods;
  std::vector<std::string> ids;
  for (int wanted : plan_.pods) {
    while (static_cast<int>(pods.size()) < wanted && !stop_) {
      ASSIGN_OR_RETURN(Pod pod, engine.RunPod());
      ASSIGN_OR_RETURN(std::string container, engine.Create(pod, plan_.image));
      RETURN_IF_ERROR(engine.Start(container));
      ids.push_back(pod.id);
      ids.push_back(container);
      pods.push_back(std::move(pod));
    }
    if (stop_) break;
    std::this_thread::sleep_for(kSettle);  // helpers that end after the start
    MemoryUse use = ReadMemory(before, engine.daemon(), ids);
    std::string at = fmt::format(" at {} pods", wanted);
    report_.Add("daemon PSS" + at, "MB", engine.name(), megabytes(use.daemon_bytes));
    report_.Add("helpers" + at, "processes", engine.name(), static_cast<double>(use.helpers));
    report_.Add("helpers' PSS a pod" + at, "KB", engine.name(), use.helper_bytes / 1e3 / wanted);
    report_.Add("daemon and helpers PSS" + at, "MB", engine.name(), megabytes(use.daemon_bytes + use.helper_bytes));
  }
  return RemoveAll(engine, pods);
}

Status Bench::Memory() {
  for (Engine* engine : engines_) {
    if (engine->daemon() == 0) return InvalidArgument("memory needs the daemon's pid: --daemon-pid, --vs-daemon-pid");
    RETURN_IF_ERROR(MemoryOf(*engine).Annotate(engine->name()));
  }
  return {};
}

}  // namespace davit::bench
