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
  ::grpc::ServerWriteReactor<::davit::control::v1::PullImageProgress>* ImportImage(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::ImportImageRequest*) override;
  ::grpc::ServerWriteReactor<::davit::control::v1::VerifyImagesProgress>* VerifyImages(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::VerifyImagesRequest*) override;
  ::grpc::ServerUnaryReactor* DiskUsage(::grpc::CallbackServerContext*, const ::davit::control::v1::DiskUsageRequest*,
                                        ::davit::control::v1::DiskUsageResponse*) override;
  ::grpc::ServerWriteReactor<::davit::control::v1::SaveImagesChunk>* SaveImages(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::SaveImagesRequest*) override;  // save_stream.cc

 private:
  engine::Engine& engine_;
};

}  // namespace davit::cri
