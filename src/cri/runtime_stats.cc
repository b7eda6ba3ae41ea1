// Statistics and pod metrics. Lists name what runs: a pod or container that has ended has no numbers.

#include "cri/convert.h"
#include "cri/convert_stats.h"
#include "cri/list_stream.h"
#include "cri/pod_metrics.h"
#include "cri/reactors.h"
#include "cri/runtime_service.h"

namespace davit::cri {
namespace {

constexpr size_t kStatsBatch = 64;  // messages of a kilobyte or two each; metrics are larger
constexpr size_t kMetricsBatch = 8;

std::vector<engine::ContainerPtr> Running(const engine::Engine& engine, const engine::Snapshot& view,
                                          const v1::ContainerStatsFilter& filter) {
  std::vector<engine::ContainerPtr> found;
  for (const auto& [id, record] : view.containers()) {
    if (record->phase == container::Phase::kRunning && Shown(engine, *record) && Matches(filter, *record))
      found.push_back(record);
  }
  return found;
}

std::vector<engine::PodPtr> Ready(const engine::Engine& engine, const engine::Snapshot& view,
                                  const v1::PodSandboxStatsFilter& filter) {
  std::vector<engine::PodPtr> found;
  for (const auto& [id, record] : view.pods()) {
    if (record->phase == pod::Phase::kReady && Shown(engine, *record) && Matches(filter, *record))
      found.push_back(record);
  }
  return found;
}

}  // namespace

RuntimeService::Reactor* RuntimeService::ContainerStats(Context* context, const v1::ContainerStatsRequest* request,
                                                        v1::ContainerStatsResponse* response) {
  Result<engine::ContainerPtr> record = engine_.View().FindContainer(request->container_id());
  if (!record.ok()) return Answer(context, record.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.Stats({*record}, FinishWith<std::vector<engine::ContainerStats>>(
                               reactor, [this, response](const std::vector<engine::ContainerStats>& all) {
                                 *response->mutable_stats() = ToContainerStats(all[0], engine_.Configuration().root);
                               }));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::ListContainerStats(Context* context,
                                                            const v1::ListContainerStatsRequest* request,
                                                            v1::ListContainerStatsResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.Stats(Running(engine_, *engine_.View(), request->filter()),
                FinishWith<std::vector<engine::ContainerStats>>(
                    reactor, [this, response](const std::vector<engine::ContainerStats>& all) {
                      for (const engine::ContainerStats& stats : all) {
                        *response->add_stats() = ToContainerStats(stats, engine_.Configuration().root);
                      }
                    }));
  return reactor;
}

::grpc::ServerWriteReactor<v1::StreamContainerStatsResponse>* RuntimeService::StreamContainerStats(
    Context*, const v1::StreamContainerStatsRequest* request) {
  using Stream = ListStream<v1::StreamContainerStatsResponse, engine::ContainerPtr>;
  return Stream::StartAsync(
      Running(engine_, *engine_.View(), request->filter()),
      [this](std::vector<engine::ContainerPtr> batch, v1::StreamContainerStatsResponse* message, Stream::Ended done) {
        engine_.Stats(std::move(batch),
                      [this, message, done = std::move(done)](const Result<std::vector<engine::ContainerStats>>& all) {
                        if (all.ok()) {
                          for (const engine::ContainerStats& stats : *all) {
                            *message->add_container_stats() = ToContainerStats(stats, engine_.Configuration().root);
                          }
                        }
                        done(all.status());
                      });
      },
      kStatsBatch);
}

RuntimeService::Reactor* RuntimeService::PodSandboxStats(Context* context, const v1::PodSandboxStatsRequest* request,
                                                         v1::PodSandboxStatsResponse* response) {
  Result<engine::PodPtr> record = engine_.View().FindPod(request->pod_sandbox_id());
  if (!record.ok()) return Answer(context, record.status());
  if ((*record)->phase != pod::Phase::kReady) {
    return Answer(context, FailedPrecondition("pod sandbox " + (*record)->id.Short() +
                                              " is not ready: a pod that has ended has no statistics"));
  }
  Reactor* reactor = context->DefaultReactor();
  engine_.StatsOfPods(
      {*record},
      FinishWith<std::vector<engine::PodStats>>(reactor, [this, response](const std::vector<engine::PodStats>& all) {
        *response->mutable_stats() = ToPodSandboxStats(all[0], engine_.Configuration().root);
      }));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::ListPodSandboxStats(Context* context,
                                                             const v1::ListPodSandboxStatsRequest* request,
                                                             v1::ListPodSandboxStatsResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.StatsOfPods(
      Ready(engine_, *engine_.View(), request->filter()),
      FinishWith<std::vector<engine::PodStats>>(reactor, [this, response](const std::vector<engine::PodStats>& all) {
        for (const engine::PodStats& stats : all) {
          *response->add_stats() = ToPodSandboxStats(stats, engine_.Configuration().root);
        }
      }));
  return reactor;
}

::grpc::ServerWriteReactor<v1::StreamPodSandboxStatsResponse>* RuntimeService::StreamPodSandboxStats(
    Context*, const v1::StreamPodSandboxStatsRequest* request) {
  using Stream = ListStream<v1::StreamPodSandboxStatsResponse, engine::PodPtr>;
  return Stream::StartAsync(
      Ready(engine_, *engine_.View(), request->filter()),
      [this](const std::vector<engine::PodPtr>& batch, v1::StreamPodSandboxStatsResponse* message, Stream::Ended done) {
        engine_.StatsOfPods(
            batch, [this, message, done = std::move(done)](const Result<std::vector<engine::PodStats>>& all) {
              if (all.ok()) {
                for (const engine::PodStats& stats : *all) {
                  *message->add_pod_sandbox_stats() = ToPodSandboxStats(stats, engine_.Configuration().root);
                }
              }
              done(all.status());
            });
      },
      kStatsBatch);
}

RuntimeService::Reactor* RuntimeService::ListMetricDescriptors(Context* context,
                                                               const v1::ListMetricDescriptorsRequest*,
                                                               v1::ListMetricDescriptorsResponse* response) {
  for (v1::MetricDescriptor& descriptor : MetricDescriptors()) *response->add_descriptors() = std::move(descriptor);
  return Answer(context, {});
}

RuntimeService::Reactor* RuntimeService::ListPodSandboxMetrics(Context* context,
                                                               const v1::ListPodSandboxMetricsRequest*,
                                                               v1::ListPodSandboxMetricsResponse* response) {
  Reactor* reactor = context->DefaultReactor();
  engine_.NumbersOfPods(Ready(engine_, *engine_.View(), {}),
                        FinishWith<std::vector<engine::PodNumbers>>(reactor, [this, response](const auto& all) {
                          Filesystem filesystem = FilesystemOf(engine_);
                          for (const engine::PodNumbers& numbers : all) {
                            *response->add_pod_metrics() = ToPodSandboxMetrics(numbers, filesystem);
                          }
                        }));
  return reactor;
}

::grpc::ServerWriteReactor<v1::StreamPodSandboxMetricsResponse>* RuntimeService::StreamPodSandboxMetrics(
    Context*, const v1::StreamPodSandboxMetricsRequest*) {
  using Stream = ListStream<v1::StreamPodSandboxMetricsResponse, engine::PodPtr>;
  return Stream::StartAsync(
      Ready(engine_, *engine_.View(), {}),
      [this](const std::vector<engine::PodPtr>& batch, v1::StreamPodSandboxMetricsResponse* message,
             Stream::Ended done) {
        engine_.NumbersOfPods(
            batch, [this, message, done = std::move(done)](const Result<std::vector<engine::PodNumbers>>& all) {
              if (all.ok()) {
                Filesystem filesystem = FilesystemOf(engine_);
                for (const engine::PodNumbers& numbers : *all) {
                  *message->add_pod_sandbox_metrics() = ToPodSandboxMetrics(numbers, filesystem);
                }
              }
              done(all.status());
            });
      },
      kMetricsBatch);
}

}  // namespace davit::cri
