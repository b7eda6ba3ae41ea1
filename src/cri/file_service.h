// davit.control.v1.FileService over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include "davit/control/v1/files.grpc.pb.h"
#include "engine/engine.h"

namespace davit::cri {

class FileService final : public ::davit::control::v1::FileService::CallbackService {
 public:
  explicit FileService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  ::grpc::ServerUnaryReactor* StatPath(::grpc::CallbackServerContext*, const ::davit::control::v1::StatPathRequest*,
                                       ::davit::control::v1::StatPathResponse*) override;
  // These two in archive_streams.cc.
  ::grpc::ServerWriteReactor<::davit::control::v1::ArchiveChunk>* ReadArchive(
      ::grpc::CallbackServerContext*, const ::davit::control::v1::ReadArchiveRequest*) override;
  ::grpc::ServerReadReactor<::davit::control::v1::WriteArchiveRequest>* WriteArchive(
      ::grpc::CallbackServerContext*, ::davit::control::v1::WriteArchiveResponse*) override;
  ::grpc::ServerUnaryReactor* ListChanges(::grpc::CallbackServerContext*,
                                          const ::davit::control::v1::ListChangesRequest*,
                                          ::davit::control::v1::ListChangesResponse*) override;
  ::grpc::ServerUnaryReactor* Commit(::grpc::CallbackServerContext*, const ::davit::control::v1::CommitRequest*,
                                     ::davit::control::v1::CommitResponse*) override;
  ::grpc::ServerUnaryReactor* TagImage(::grpc::CallbackServerContext*, const ::davit::control::v1::TagImageRequest*,
                                       ::davit::control::v1::TagImageResponse*) override;
  ::grpc::ServerUnaryReactor* RemoveImage(::grpc::CallbackServerContext*,
                                          const ::davit::control::v1::RemoveStoredImageRequest*,
                                          ::davit::control::v1::RemoveStoredImageResponse*) override;
  ::grpc::ServerUnaryReactor* ListImages(::grpc::CallbackServerContext*,
                                         const ::davit::control::v1::ListStoredImagesRequest*,
                                         ::davit::control::v1::ListStoredImagesResponse*) override;

 private:
  engine::Engine& engine_;
};

void Fill(const image::TreeStat& in, control::v1::StatPathResponse& out);

}  // namespace davit::cri
