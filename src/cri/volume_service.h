// davit.control.v1.VolumeService over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include "davit/control/v1/volumes.grpc.pb.h"
#include "engine/engine.h"

namespace davit::cri {

class VolumeService final : public ::davit::control::v1::VolumeService::CallbackService {
 public:
  explicit VolumeService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  ::grpc::ServerUnaryReactor* CreateVolume(::grpc::CallbackServerContext*,
                                           const ::davit::control::v1::CreateVolumeRequest*,
                                           ::davit::control::v1::CreateVolumeResponse*) override;
  ::grpc::ServerUnaryReactor* ListVolumes(::grpc::CallbackServerContext*,
                                          const ::davit::control::v1::ListVolumesRequest*,
                                          ::davit::control::v1::ListVolumesResponse*) override;
  ::grpc::ServerUnaryReactor* RemoveVolume(::grpc::CallbackServerContext*,
                                           const ::davit::control::v1::RemoveVolumeRequest*,
                                           ::davit::control::v1::RemoveVolumeResponse*) override;

 private:
  engine::Engine& engine_;
};

}  // namespace davit::cri
