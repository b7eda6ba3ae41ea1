// SaveImages over gRPC: the thread that reads the store waits until the client has taken what there is.

#include <memory>

#include "cri/control_service.h"
#include "cri/pushed_stream.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

using control::v1::SaveImagesChunk;

constexpr size_t kChunkBytes = size_t{256} << 10;

class SaveStream final : public PushedStream<SaveImagesChunk>, public image::ExportSink {
 public:
  // On the engine's thread.
  Status Total(uint64_t bytes) override {
    SaveImagesChunk chunk;
    chunk.set_total_bytes(bytes);
    return Push(std::move(chunk));
  }
  Status Begin(const std::string& path, uint64_t size) override {
    RETURN_IF_ERROR(Flush());
    SaveImagesChunk chunk;
    chunk.set_path(path);
    chunk.set_size(size);
    return Push(std::move(chunk));
  }
  // Pieces of a tar are headers of some hundred bytes and files: they go together.
  Status Write(std::string_view bytes) override {
    std::string* data = pending_.mutable_data();
    if (data->size() + bytes.size() > kChunkBytes) RETURN_IF_ERROR(Flush());
    data = pending_.mutable_data();
    if (data->capacity() < kChunkBytes) data->reserve(kChunkBytes);
    data->append(bytes);
    return data->size() >= kChunkBytes ? Flush() : Status();
  }
  void End(Status status) {
    if (status.ok()) status = Flush();
    Close(std::move(status));
  }

 private:
  Status Flush() {
    if (pending_.data().empty()) return {};
    SaveImagesChunk chunk;
    chunk.Swap(&pending_);
    return Push(std::move(chunk));
  }

  SaveImagesChunk pending_;  // the engine's thread only
};

}  // namespace

::grpc::ServerWriteReactor<SaveImagesChunk>* ControlService::SaveImages(::grpc::CallbackServerContext*,
                                                                        const control::v1::SaveImagesRequest* request) {
  if (request->images().empty()) return new RefusedStream<SaveImagesChunk>(InvalidArgument("no image is named"));
  auto stream = std::make_shared<SaveStream>();
  stream->Keep(stream);
  engine_.SaveImages(
      {request->images().begin(), request->images().end()}, request->docker(), request->gzip(), stream,
      [stream] { return stream->Wanted(); },
      [stream](const Result<engine::Nothing>& result) { stream->End(result.status()); });
  return stream.get();
}

}  // namespace davit::cri
