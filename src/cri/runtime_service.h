// CRI v1 RuntimeService over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include "engine/engine.h"
#include "runtime/v1/cri.grpc.pb.h"

namespace davit::cri {

namespace v1 = ::runtime::v1;

class RuntimeService final : public v1::RuntimeService::CallbackService {
 public:
  explicit RuntimeService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  using Context = ::grpc::CallbackServerContext;
  using Reactor = ::grpc::ServerUnaryReactor;

  Reactor* Version(Context*, const v1::VersionRequest*, v1::VersionResponse*) override;
  Reactor* Status(Context*, const v1::StatusRequest*, v1::StatusResponse*) override;
  Reactor* RuntimeConfig(Context*, const v1::RuntimeConfigRequest*, v1::RuntimeConfigResponse*) override;
  Reactor* UpdateRuntimeConfig(Context*, const v1::UpdateRuntimeConfigRequest*,
                               v1::UpdateRuntimeConfigResponse*) override;

  Reactor* RunPodSandbox(Context*, const v1::RunPodSandboxRequest*, v1::RunPodSandboxResponse*) override;
  Reactor* StopPodSandbox(Context*, const v1::StopPodSandboxRequest*, v1::StopPodSandboxResponse*) override;
  Reactor* RemovePodSandbox(Context*, const v1::RemovePodSandboxRequest*, v1::RemovePodSandboxResponse*) override;
  Reactor* PodSandboxStatus(Context*, const v1::PodSandboxStatusRequest*, v1::PodSandboxStatusResponse*) override;
  Reactor* ListPodSandbox(Context*, const v1::ListPodSandboxRequest*, v1::ListPodSandboxResponse*) override;

  Reactor* CreateContainer(Context*, const v1::CreateContainerRequest*, v1::CreateContainerResponse*) override;
  Reactor* StartContainer(Context*, const v1::StartContainerRequest*, v1::StartContainerResponse*) override;
  Reactor* StopContainer(Context*, const v1::StopContainerRequest*, v1::StopContainerResponse*) override;
  Reactor* RemoveContainer(Context*, const v1::RemoveContainerRequest*, v1::RemoveContainerResponse*) override;
  Reactor* ListContainers(Context*, const v1::ListContainersRequest*, v1::ListContainersResponse*) override;
  Reactor* ContainerStatus(Context*, const v1::ContainerStatusRequest*, v1::ContainerStatusResponse*) override;
  Reactor* ReopenContainerLog(Context*, const v1::ReopenContainerLogRequest*, v1::ReopenContainerLogResponse*) override;

  Reactor* ExecSync(Context*, const v1::ExecSyncRequest*, v1::ExecSyncResponse*) override;
  Reactor* Exec(Context*, const v1::ExecRequest*, v1::ExecResponse*) override;
  Reactor* Attach(Context*, const v1::AttachRequest*, v1::AttachResponse*) override;
  Reactor* PortForward(Context*, const v1::PortForwardRequest*, v1::PortForwardResponse*) override;

  Reactor* ContainerStats(Context*, const v1::ContainerStatsRequest*, v1::ContainerStatsResponse*) override;
  Reactor* ListContainerStats(Context*, const v1::ListContainerStatsRequest*, v1::ListContainerStatsResponse*) override;

  // Not built yet: UNIMPLEMENTED with a sentence (runtime_unimplemented.cc).
  Reactor* UpdateContainerResources(Context*, const v1::UpdateContainerResourcesRequest*,
                                    v1::UpdateContainerResourcesResponse*) override;
  Reactor* UpdatePodSandboxResources(Context*, const v1::UpdatePodSandboxResourcesRequest*,
                                     v1::UpdatePodSandboxResourcesResponse*) override;
  Reactor* PodSandboxStats(Context*, const v1::PodSandboxStatsRequest*, v1::PodSandboxStatsResponse*) override;
  Reactor* ListPodSandboxStats(Context*, const v1::ListPodSandboxStatsRequest*,
                               v1::ListPodSandboxStatsResponse*) override;
  Reactor* CheckpointContainer(Context*, const v1::CheckpointContainerRequest*,
                               v1::CheckpointContainerResponse*) override;
  Reactor* CheckpointPod(Context*, const v1::CheckpointPodRequest*, v1::CheckpointPodResponse*) override;
  Reactor* RestorePod(Context*, const v1::RestorePodRequest*, v1::RestorePodResponse*) override;
  Reactor* ListMetricDescriptors(Context*, const v1::ListMetricDescriptorsRequest*,
                                 v1::ListMetricDescriptorsResponse*) override;
  Reactor* ListPodSandboxMetrics(Context*, const v1::ListPodSandboxMetricsRequest*,
                                 v1::ListPodSandboxMetricsResponse*) override;
  ::grpc::ServerWriteReactor<v1::StreamPodSandboxesResponse>* StreamPodSandboxes(
      Context*, const v1::StreamPodSandboxesRequest*) override;
  ::grpc::ServerWriteReactor<v1::StreamContainersResponse>* StreamContainers(
      Context*, const v1::StreamContainersRequest*) override;
  ::grpc::ServerWriteReactor<v1::StreamContainerStatsResponse>* StreamContainerStats(
      Context*, const v1::StreamContainerStatsRequest*) override;
  ::grpc::ServerWriteReactor<v1::StreamPodSandboxStatsResponse>* StreamPodSandboxStats(
      Context*, const v1::StreamPodSandboxStatsRequest*) override;
  ::grpc::ServerWriteReactor<v1::StreamPodSandboxMetricsResponse>* StreamPodSandboxMetrics(
      Context*, const v1::StreamPodSandboxMetricsRequest*) override;
  ::grpc::ServerWriteReactor<v1::ContainerEventResponse>* GetContainerEvents(Context*,
                                                                             const v1::GetEventsRequest*) override;

 private:
  engine::Engine& engine_;
};

}  // namespace davit::cri
