#include "cri/volume_service.h"

#include "cri/reactors.h"

namespace davit::cri {
namespace {

void Fill(const engine::Engine::Volume& in, control::v1::Volume& out) {
  out.set_name(in.record.name);
  out.set_driver(in.record.driver);
  out.mutable_labels()->insert(in.record.labels.begin(), in.record.labels.end());
  out.mutable_options()->insert(in.record.options.begin(), in.record.options.end());
  out.set_mountpoint(in.mountpoint);
  out.set_created_at(in.record.created_at);
  out.set_anonymous(in.record.anonymous);
  out.set_needs_copy_up(in.record.fresh);
  for (const std::string& id : in.containers) out.add_containers(id);
  out.set_bytes(in.bytes.value_or(0));
}

void Fill(const std::vector<engine::Engine::Volume>& in, control::v1::ListVolumesResponse& out) {
  for (const engine::Engine::Volume& volume : in) Fill(volume, *out.add_volumes());
}

}  // namespace

::grpc::ServerUnaryReactor* VolumeService::CreateVolume(::grpc::CallbackServerContext* context,
                                                        const control::v1::CreateVolumeRequest* request,
                                                        control::v1::CreateVolumeResponse* response) {
  store::VolumeRecord record;
  record.name = request->name();
  record.driver = request->driver();
  record.labels.insert(request->labels().begin(), request->labels().end());
  record.options.insert(request->options().begin(), request->options().end());
  record.anonymous = request->anonymous();
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.CreateVolume(std::move(record),
                       FinishWith<engine::Engine::CreatedVolume>(reactor, [response](const auto& made) {
                         Fill(made.volume, *response->mutable_volume());
                         response->set_created(made.created);
                       }));
  return reactor;
}

::grpc::ServerUnaryReactor* VolumeService::ListVolumes(::grpc::CallbackServerContext* context,
                                                       const control::v1::ListVolumesRequest* request,
                                                       control::v1::ListVolumesResponse* response) {
  const std::vector<std::string> names(request->names().begin(), request->names().end());
  if (!request->sizes()) {
    Result<std::vector<engine::Engine::Volume>> volumes = engine_.Volumes(names);
    if (volumes.ok()) Fill(*volumes, *response);
    return Answer(context, volumes.status());
  }
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.MeasureVolumes(names, FinishWith<std::vector<engine::Engine::Volume>>(
                                    reactor, [response](const auto& volumes) { Fill(volumes, *response); }));
  return reactor;
}

::grpc::ServerUnaryReactor* VolumeService::RemoveVolume(::grpc::CallbackServerContext* context,
                                                        const control::v1::RemoveVolumeRequest* request,
                                                        control::v1::RemoveVolumeResponse*) {
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.RemoveVolume(request->name(), request->force(), FinishEmpty(reactor));
  return reactor;
}

}  // namespace davit::cri
