// CRI v1 ImageService over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include "engine/engine.h"
#include "runtime/v1/cri.grpc.pb.h"

namespace davit::cri {

namespace v1 = ::runtime::v1;

class ImageService final : public v1::ImageService::CallbackService {
 public:
  explicit ImageService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  using Context = ::grpc::CallbackServerContext;
  using Reactor = ::grpc::ServerUnaryReactor;

  Reactor* ListImages(Context*, const v1::ListImagesRequest*, v1::ListImagesResponse*) override;
  Reactor* ImageStatus(Context*, const v1::ImageStatusRequest*, v1::ImageStatusResponse*) override;
  Reactor* PullImage(Context*, const v1::PullImageRequest*, v1::PullImageResponse*) override;
  Reactor* RemoveImage(Context*, const v1::RemoveImageRequest*, v1::RemoveImageResponse*) override;
  Reactor* ImageFsInfo(Context*, const v1::ImageFsInfoRequest*, v1::ImageFsInfoResponse*) override;
  ::grpc::ServerWriteReactor<v1::StreamImagesResponse>* StreamImages(Context*, const v1::StreamImagesRequest*) override;

 private:
  engine::Engine& engine_;
};

}  // namespace davit::cri
