// davit.control.v1.StandaloneService over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include "davit/control/v1/standalone.grpc.pb.h"
#include "engine/engine.h"

namespace davit::cri {

class StandaloneService final : public ::davit::control::v1::StandaloneService::CallbackService {
 public:
  explicit StandaloneService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  using Context = ::grpc::CallbackServerContext;
  using Reactor = ::grpc::ServerUnaryReactor;
  template <class Message>
  using Stream = ::grpc::ServerWriteReactor<Message>;

#define DAVIT_UNARY(Method, Request, Response) \
  Reactor* Method(Context*, const ::davit::control::v1::Request*, ::davit::control::v1::Response*) override
  DAVIT_UNARY(CreatePod, CreatePodRequest, CreatePodResponse);
  DAVIT_UNARY(StartPod, StartPodRequest, StartPodResponse);
  DAVIT_UNARY(StopPod, StopPodRequest, StopPodResponse);
  DAVIT_UNARY(RemovePod, RemovePodRequest, RemovePodResponse);
  DAVIT_UNARY(ListPods, ListPodsRequest, ListPodsResponse);
  DAVIT_UNARY(CreateContainer, CreateContainerRequest, CreateContainerResponse);
  DAVIT_UNARY(PrepareContainer, PrepareContainerRequest, PrepareContainerResponse);
  DAVIT_UNARY(StartContainer, StartStandaloneRequest, StartStandaloneResponse);
  DAVIT_UNARY(StopContainer, StopStandaloneRequest, StopStandaloneResponse);
  DAVIT_UNARY(KillContainer, KillContainerRequest, KillContainerResponse);
  DAVIT_UNARY(PauseContainer, PauseContainerRequest, PauseContainerResponse);
  DAVIT_UNARY(UnpauseContainer, UnpauseContainerRequest, UnpauseContainerResponse);
  DAVIT_UNARY(RenameContainer, RenameContainerRequest, RenameContainerResponse);
  DAVIT_UNARY(UpdateContainer, UpdateStandaloneRequest, UpdateStandaloneResponse);
  DAVIT_UNARY(RemoveContainer, RemoveStandaloneRequest, RemoveStandaloneResponse);
  DAVIT_UNARY(ListContainers, ListContainersAllRequest, ListContainersAllResponse);
  DAVIT_UNARY(Exec, ExecStandaloneRequest, ExecStandaloneResponse);
  DAVIT_UNARY(ListProcesses, ListProcessesRequest, ListProcessesResponse);
  DAVIT_UNARY(CheckHealth, CheckHealthRequest, CheckHealthResponse);
#undef DAVIT_UNARY

  Stream<::davit::control::v1::WaitContainerResponse>* WaitContainer(
      Context*, const ::davit::control::v1::WaitContainerRequest*) override;
  Stream<::davit::control::v1::Event>* Events(Context*, const ::davit::control::v1::EventsRequest*) override;

 private:
  engine::Engine& engine_;
};

}  // namespace davit::cri
