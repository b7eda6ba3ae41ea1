// Bench::Stats.
#include <fmt/format.h>

#include <chrono>
#include <set>

#include "measure.h"
#include "runtime/v1/cri.pb.h"

namespace davit::bench {
namespace {

namespace cri = ::runtime::v1;

constexpr int kCalls = 50;

}  // namespace

Status Bench::Stats() {
  std::vector<std::vector<Pod>> pods(engines_.size());
  for (size_t e = 0; e < engines_.size(); ++e) {
    for (int made = 0; made < plan_.list_at && !stop_; ++made) {
      ASSIGN_OR_RETURN(Pod pod, engines_[e]->RunPod());
      ASSIGN_OR_RETURN(std::string container, engines_[e]->Create(pod, plan_.image));
      RETURN_IF_ERROR(engines_[e]->Start(container));
      pods[e].push_back(std::move(pod));
    }
  }
  std::set<std::string> left_out;  // said once
  // One call, timed; a short answer would be no measurement.
  auto ask = [&](Engine& engine, const std::string& name, const auto& request, auto count) -> Status {
    auto began = std::chrono::steady_clock::now();
    auto response = engine.client().Call(request);
    double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
    if (!response.ok()) {  // containerd refuses pod statistics of pods without a cgroup_parent
      if (left_out.insert(engine.name() + name).second) {
        fmt::print(stderr, "davit-bench: {}: {}: left out: {}\n", engine.name(), name, response.status().message());
      }
      return {};
    }
    if (count(*response) < plan_.list_at) return Internal(fmt::format("{} has {} items", name, count(*response)));
    report_.Add(fmt::format("{} of {} pods", name, plan_.list_at), "ms", engine.name(), ms);
    return {};
  };
  for (int i = 0; i < kCalls && !stop_; ++i) {
    for (Engine* engine : Order(i)) {
      RETURN_IF_ERROR(ask(*engine, "ListContainerStats", cri::ListContainerStatsRequest(),
                          [](const auto& response) { return response.stats_size(); }));
      RETURN_IF_ERROR(ask(*engine, "ListPodSandboxStats", cri::ListPodSandboxStatsRequest(),
                          [](const auto& response) { return response.stats_size(); }));
      RETURN_IF_ERROR(ask(*engine, "ListPodSandboxMetrics", cri::ListPodSandboxMetricsRequest(),
                          [](const auto& response) { return response.pod_metrics_size(); }));
    }
  }
  for (size_t e = 0; e < engines_.size(); ++e) RETURN_IF_ERROR(RemoveAll(*engines_[e], pods[e]));
  return {};
}

}  // namespace davit::bench
