#include "cri/image_service.h"

#include <boost/json.hpp>
#include <set>

#include "cri/convert.h"
#include "cri/list_stream.h"
#include "cri/reactors.h"
#include "oci/image_spec.h"

namespace davit::cri {
namespace {

std::string ImageInfo(const image::ImageRecord& record, const oci::ImageConfig& config) {
  boost::json::array layers;
  for (const oci::Digest& diff_id : config.diff_ids) layers.emplace_back(diff_id.ToString());
  boost::json::object info = {{"chainLayers", std::move(layers)},
                              {"manifestDigest", record.manifest_digest},
                              {"created", record.created},
                              {"architecture", record.architecture},
                              {"entrypoint", boost::json::array(config.entrypoint.begin(), config.entrypoint.end())},
                              {"cmd", boost::json::array(config.cmd.begin(), config.cmd.end())},
                              {"env", boost::json::array(config.env.begin(), config.env.end())},
                              {"user", config.user},
                              {"workingDir", config.working_dir}};
  // Under which names a signature policy took it; empty where none had to.
  boost::json::array& verdicts = info["trust"].emplace_array();
  for (const image::Verdict& verdict : record.verdicts) {
    verdicts.push_back({{"name", verdict.name},
                        {"manifestDigest", verdict.manifest_digest},
                        {"rule", verdict.rule},
                        {"policy", verdict.policy},
                        {"signatures", verdict.signatures},
                        {"checkedAt", verdict.checked_at}});
  }
  return boost::json::serialize(info);
}

// The kubelet gives a pod the reason SignatureValidationFailed when the answer begins with that word (k8s.io/cri-api,
// pkg/errors), and its client keeps an answer's own words only for UNKNOWN.
Status AsKubeletReadsIt(const Status& status) {
  constexpr std::string_view kWord = "SignatureValidationFailed: ";
  const size_t at = status.message().find(kWord);
  if (status.code() != StatusCode::kPermissionDenied || at == std::string::npos) return status;
  return Status(StatusCode::kUnknown, status.message().substr(at));
}

// What a list names: the one image of the filter, or all. A filter that fits nothing is an empty list.
image::ImageList Wanted(const image::Images& images, const v1::ImageFilter& filter) {
  const std::string& wanted = filter.image().image();
  if (wanted.empty()) return images.List();
  auto only = std::make_shared<std::vector<image::ImageRecord>>();
  if (Result<image::ImageRecord> found = images.Resolve(wanted); found.ok()) only->push_back(std::move(*found));
  return only;
}

// Images that standalone containers run, or will run again. To the kubelet, which does not see those, they are pinned:
// its garbage collection would take them.
std::set<std::string> KeptImages(const engine::Snapshot& view) {
  std::set<std::string> kept;
  for (const auto& [id, record] : view.containers()) {
    if (engine::IsStandalone(*record)) kept.insert(record->image_id);
  }
  return kept;
}

v1::Image ToPinned(const image::ImageRecord& record, const std::set<std::string>& kept) {
  v1::Image image = ToImage(record);
  if (kept.count(record.id) != 0) image.set_pinned(true);
  return image;
}

}  // namespace

ImageService::Reactor* ImageService::ListImages(Context* context, const v1::ListImagesRequest* request,
                                                v1::ListImagesResponse* response) {
  const image::ImageList list = Wanted(engine_.Images(), request->filter());
  const std::set<std::string> kept = KeptImages(*engine_.View());
  for (const image::ImageRecord& record : *list) *response->add_images() = ToPinned(record, kept);
  return Answer(context, {});
}

ImageService::Reactor* ImageService::ImageStatus(Context* context, const v1::ImageStatusRequest* request,
                                                 v1::ImageStatusResponse* response) {
  const std::string& wanted = request->image().image();
  if (wanted.empty()) return Answer(context, InvalidArgument("image.image is empty"));
  Result<image::ImageRecord> found = engine_.Images().Resolve(wanted);
  if (found.code() == StatusCode::kNotFound) return Answer(context, {});  // CRI: an absent image is no image
  if (!found.ok()) return Answer(context, found.status());
  *response->mutable_image() = ToPinned(*found, KeptImages(*engine_.View()));
  if (request->verbose()) {
    Result<std::shared_ptr<const oci::ImageConfig>> config = engine_.Images().Config(*found);
    if (!config.ok()) return Answer(context, config.status());
    (*response->mutable_info())["info"] = ImageInfo(*found, **config);
  }
  return Answer(context, {});
}

ImageService::Reactor* ImageService::PullImage(Context* context, const v1::PullImageRequest* request,
                                               v1::PullImageResponse* response) {
  if (request->image().image().empty()) return Answer(context, InvalidArgument("image.image is empty"));
  Reactor* reactor = context->DefaultReactor();
  engine_.PullImage(
      request->image().image(), ToCredentials(request->auth()), request->sandbox_config().metadata().namespace_(),
      nullptr, [context] { return !context->IsCancelled(); },
      [reactor, response](const Result<image::ImageRecord>& result) {
        if (result.ok()) response->set_image_ref(result->id);
        reactor->Finish(ToGrpc(AsKubeletReadsIt(result.status())));
      });
  return reactor;
}

ImageService::Reactor* ImageService::RemoveImage(Context* context, const v1::RemoveImageRequest* request,
                                                 v1::RemoveImageResponse*) {
  if (request->image().image().empty()) return Answer(context, InvalidArgument("image.image is empty"));
  Reactor* reactor = context->DefaultReactor();
  engine_.RemoveImage(request->image().image(), FinishEmpty(reactor));
  return reactor;
}

ImageService::Reactor* ImageService::ImageFsInfo(Context* context, const v1::ImageFsInfoRequest*,
                                                 v1::ImageFsInfoResponse* response) {
  Result<store::FilesystemUsage> usage = engine_.ImageFilesystem();
  if (!usage.ok()) return Answer(context, usage.status());
  auto fill = [&](v1::FilesystemUsage* filesystem, const store::DiskUsage& used) {
    filesystem->set_timestamp(usage->wall_nanos);
    filesystem->mutable_fs_id()->set_mountpoint(engine_.Configuration().root);
    filesystem->mutable_used_bytes()->set_value(used.bytes);
    filesystem->mutable_inodes_used()->set_value(used.inodes);
  };
  fill(response->add_image_filesystems(), usage->used);
  fill(response->add_container_filesystems(), engine_.WritableLayers());
  return Answer(context, {});
}

::grpc::ServerWriteReactor<v1::StreamImagesResponse>* ImageService::StreamImages(
    Context*, const v1::StreamImagesRequest* request) {
  using Stream = ListStream<v1::StreamImagesResponse, const image::ImageRecord*>;
  const image::ImageList list = Wanted(engine_.Images(), request->filter());
  std::vector<const image::ImageRecord*> items;
  items.reserve(list->size());
  for (const image::ImageRecord& record : *list) items.push_back(&record);
  // `list` keeps what the pointers point to.
  return Stream::Start(std::move(items), [list, kept = KeptImages(*engine_.View())](const image::ImageRecord* record,
                                                                                    v1::StreamImagesResponse* message) {
    *message->add_images() = ToPinned(*record, kept);
  });
}

}  // namespace davit::cri
