// davit.control.v1 over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include "davit/control/v1/control.grpc.pb.h"
#include "engine/engine.h"

namespace davit::cri {

class ControlService final : public ::davit::control::v1::ControlService::CallbackService {
 public:
  explicit ControlService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  ::grpc::ServerWriteReactor<::davit::control::v1::PullImageProgress>* PullImage(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::PullImageRequest*) override;
  ::grpc::ServerWriteReactor<::davit::control::v1::PullImageProgress>* LoadImage(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::LoadImageRequest*) override;
  ::grpc::ServerWriteReactor<::davit::control::v1::SaveImagesChunk>* SaveImages(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::SaveImagesRequest*) override;  // save_stream.cc

 private:
  engine::Engine& engine_;
};

}  // namespace davit::cri
