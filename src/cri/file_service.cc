#include "cri/file_service.h"

#include <time.h>

#include "cri/reactors.h"

namespace davit::cri {
namespace {

// RFC 3339 as image configs have it: "2020-01-02T03:04:05.678Z", also with "+02:00". 0: it is none.
int64_t ParseTime(const std::string& text) {
  tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return 0;
  int64_t nanos = 0;
  if (*rest == '.') {
    int64_t unit = 100'000'000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) nanos += (*rest - '0') * unit;
  }
  int64_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    tm zone{};
    if (::strptime(rest + 1, "%H:%M", &zone) == nullptr) return 0;
    offset = (*rest == '+' ? 1 : -1) * (zone.tm_hour * 60 + zone.tm_min) * 60;
  }
  return (::timegm(&parts) - offset) * INT64_C(1'000'000'000) + nanos;
}

void Fill(const engine::Engine::StoredImage& in, bool full, control::v1::StoredImage& out) {
  out.set_id(in.record.id);
  for (const std::string& tag : in.record.repo_tags) out.add_tags(tag);
  for (const std::string& digest : in.record.repo_digests) out.add_digests(digest);
  out.set_size(in.record.size);
  out.set_created_at(ParseTime(in.record.created));
  out.set_architecture(in.record.architecture);
  out.set_manifest_digest(in.record.manifest_digest);
  out.set_containers(in.containers);
  out.set_shared_size(in.shared_size);
  if (in.config) {
    out.mutable_labels()->insert(in.config->labels.begin(), in.config->labels.end());
    out.set_os(in.config->platform.os);
    out.set_variant(in.config->platform.variant);
  }
  if (!full) return;
  out.set_config_json(in.config_json);
  if (in.config) {
    for (const oci::Digest& layer : in.config->diff_ids) out.add_layers(layer.ToString());
  }
  for (const uint64_t size : in.layer_sizes) out.add_layer_sizes(size);
}

}  // namespace

void Fill(const image::TreeStat& in, control::v1::StatPathResponse& out) {
  out.set_name(in.name);
  out.set_size(in.size);
  out.set_mode(in.mode);
  out.set_modified_at(in.modified_at);
  out.set_link_target(in.link_target);
}

::grpc::ServerUnaryReactor* FileService::StatPath(::grpc::CallbackServerContext* context,
                                                  const control::v1::StatPathRequest* request,
                                                  control::v1::StatPathResponse* response) {
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.StatPath(request->container(), request->path(),
                   FinishWith<image::TreeStat>(reactor, [response](const auto& stat) { Fill(stat, *response); }));
  return reactor;
}

::grpc::ServerUnaryReactor* FileService::ListChanges(::grpc::CallbackServerContext* context,
                                                     const control::v1::ListChangesRequest* request,
                                                     control::v1::ListChangesResponse* response) {
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.ListChanges(request->container(),
                      FinishWith<engine::ContainerChanges>(reactor, [response](const engine::ContainerChanges& found) {
                        for (const engine::Change& in : found.changes) {
                          control::v1::ListChangesResponse::Change* change = response->add_changes();
                          change->set_path(in.path);
                          change->set_kind(static_cast<uint32_t>(in.kind));
                        }
                        response->set_truncated(found.truncated);
                      }));
  return reactor;
}

::grpc::ServerUnaryReactor* FileService::Commit(::grpc::CallbackServerContext* context,
                                                const control::v1::CommitRequest* request,
                                                control::v1::CommitResponse* response) {
  engine::Engine::CommitRequest commit;
  commit.container = request->container();
  commit.reference = request->reference();
  commit.changes = {request->changes().begin(), request->changes().end()};
  commit.author = request->author();
  commit.message = request->message();
  commit.config = request->config();
  commit.pause = !request->no_pause();
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.Commit(std::move(commit),
                 FinishWith<std::string>(reactor, [response](const std::string& id) { response->set_image_id(id); }));
  return reactor;
}

::grpc::ServerUnaryReactor* FileService::TagImage(::grpc::CallbackServerContext* context,
                                                  const control::v1::TagImageRequest* request,
                                                  control::v1::TagImageResponse*) {
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.TagImage(request->image(), request->reference(), FinishEmpty(reactor));
  return reactor;
}

::grpc::ServerUnaryReactor* FileService::RemoveImage(::grpc::CallbackServerContext* context,
                                                     const control::v1::RemoveStoredImageRequest* request,
                                                     control::v1::RemoveStoredImageResponse* response) {
  ::grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  engine_.RemoveStoredImage(request->image(), request->force(),
                            FinishWith<engine::Engine::RemovedImage>(reactor, [response](const auto& removed) {
                              for (const std::string& name : removed.untagged) response->add_untagged(name);
                              response->set_deleted(removed.deleted);
                            }));
  return reactor;
}

::grpc::ServerUnaryReactor* FileService::ListImages(::grpc::CallbackServerContext* context,
                                                    const control::v1::ListStoredImagesRequest* request,
                                                    control::v1::ListStoredImagesResponse* response) {
  Result<std::vector<engine::Engine::StoredImage>> images =
      engine_.StoredImages({request->images().begin(), request->images().end()}, request->full());
  if (images.ok()) {
    for (const engine::Engine::StoredImage& image : *images) Fill(image, request->full(), *response->add_images());
  }
  return Answer(context, images.status());
}

}  // namespace davit::cri
