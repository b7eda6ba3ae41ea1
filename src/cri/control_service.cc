#include "cri/control_service.h"

#include <memory>

#include "base/strings.h"
#include "cri/convert.h"
#include "cri/latest_stream.h"
#include "cri/reactors.h"

namespace davit::cri {
namespace {

using control::v1::PullImageProgress;

PullImageProgress ToMessage(const image::PullProgress& in, bool explain) {
  PullImageProgress out;
  out.set_fetched_bytes(in.bytes_done);
  out.set_total_bytes(in.bytes_total);
  out.set_unpacked_bytes(in.bytes_unpacked);
  out.set_layers_done(in.layers_done);
  out.set_layers_total(in.layers_total);
  out.set_layers_present(in.layers_present);
  out.set_retries(in.retries);
  for (size_t i = 0; explain && i < in.attempts.size(); ++i) {
    const image::PullAttempt& attempt = in.attempts[i];
    control::v1::PullAttempt& item = *out.add_attempts();
    // Servers have a say in these, and messages are UTF-8.
    item.set_endpoint(Printable(attempt.endpoint, 1024));
    item.set_configured_by(Printable(attempt.configured_by, 1024));
    item.set_credentials(Printable(attempt.credentials, 1024));
    item.set_asked_for(Printable(attempt.asked_for, 1024));
    item.set_verdict(Printable(attempt.verdict, 4096));
  }
  return out;
}

class ProgressStream final : public LatestStream<PullImageProgress> {
 public:
  explicit ProgressStream(bool explain) : explain_(explain) {}
  void Progress(const image::PullProgress& now) { Show(ToMessage(now, explain_)); }
  void End(const Result<image::ImageRecord>& result) {
    EndWith(result.status(), [&](PullImageProgress& last) { last.set_image_ref(result->id); });
  }
  void EndLoad(const Result<image::Puller::Loaded>& result) {
    EndWith(result.status(), [&](PullImageProgress& last) {
      last.set_image_ref(result->record.id);
      last.set_archive_images(result->images);
      for (const std::string& name : result->names) last.add_names(name);
    });
  }

 private:
  const bool explain_;
};

const char* KindName(engine::Damage::Kind kind) {
  switch (kind) {
    case engine::Damage::Kind::kManifest:
      return "manifest";
    case engine::Damage::Kind::kConfig:
      return "config";
    case engine::Damage::Kind::kLayer:
      break;
  }
  return "layer";
}

void Fill(const engine::VerifyReport& in, control::v1::VerifyImagesReport& out) {
  out.set_images(in.images);
  out.set_layers(in.layers);
  out.set_bytes_read(in.bytes_read);
  out.set_first_time(in.first_time);
  for (const engine::Damage& damage : in.damage) {
    control::v1::VerifyImagesReport::Damage* to = out.add_damage();
    to->set_kind(KindName(damage.kind));
    to->set_digest(damage.digest);
    for (const std::string& name : damage.images) to->add_images(name);
    for (const store::LayerDamage& path : damage.damaged) {
      control::v1::VerifyImagesReport::Path* named = to->add_paths();
      named->set_path(Printable(path.path, 4096));  // a proto string is UTF-8
      named->set_what(Printable(path.what, 1024));
    }
    to->set_damages(damage.damages);
    to->set_in_use(damage.in_use);
    to->set_quarantine(damage.quarantine);
  }
  for (const std::string& text : in.unchecked) out.add_unchecked(Printable(text, 1024));
}

class VerifyStream final : public LatestStream<control::v1::VerifyImagesProgress> {
 public:
  void Progress(const engine::VerifyProgress& now) {
    if (!Ready()) return;  // it comes with each file
    control::v1::VerifyImagesProgress message;
    message.set_layers_done(now.layers_done);
    message.set_layers_total(now.layers_total);
    message.set_bytes_read(now.bytes_read);
    message.set_bytes_total(now.bytes_total);
    Show(std::move(message));
  }
  void End(const Result<engine::VerifyReport>& result) {
    EndWith(result.status(), [&](control::v1::VerifyImagesProgress& last) { Fill(*result, *last.mutable_report()); });
  }
};

}  // namespace

::grpc::ServerWriteReactor<PullImageProgress>* ControlService::PullImage(::grpc::CallbackServerContext*,
                                                                         const control::v1::PullImageRequest* request) {
  if (request->image().image().empty()) {
    return new RefusedStream<PullImageProgress>(InvalidArgument("image.image is empty"));
  }
  auto stream = std::make_shared<ProgressStream>(request->explain());
  stream->Keep(stream);
  engine_.PullImage(
      request->image().image(), ToCredentials(request->auth()), "",
      [stream](const image::PullProgress& now) { stream->Progress(now); }, [stream] { return stream->Wanted(); },
      [stream](const Result<image::ImageRecord>& result) { stream->End(result); });
  return stream.get();
}

::grpc::ServerWriteReactor<PullImageProgress>* ControlService::LoadImage(::grpc::CallbackServerContext*,
                                                                         const control::v1::LoadImageRequest* request) {
  if (!request->archive().starts_with('/')) {
    return new RefusedStream<PullImageProgress>(InvalidArgument("archive is no absolute path"));
  }
  auto stream = std::make_shared<ProgressStream>(false);
  stream->Keep(stream);
  engine_.LoadImage(
      request->archive(), request->image(), [stream](const image::PullProgress& now) { stream->Progress(now); },
      [stream] { return stream->Wanted(); },
      [stream](const Result<image::Puller::Loaded>& result) { stream->EndLoad(result); });
  return stream.get();
}

::grpc::ServerWriteReactor<PullImageProgress>* ControlService::ImportImage(
    ::grpc::CallbackServerContext*, const control::v1::ImportImageRequest* request) {
  if (!request->archive().starts_with('/')) {
    return new RefusedStream<PullImageProgress>(InvalidArgument("archive is no absolute path"));
  }
  auto stream = std::make_shared<ProgressStream>(false);
  stream->Keep(stream);
  engine::Engine::ImportSettings settings;
  settings.archive = request->archive();
  settings.reference = request->reference();
  settings.changes = {request->changes().begin(), request->changes().end()};
  settings.message = request->message();
  settings.platform = request->platform();
  engine_.ImportImage(
      settings, [stream](const image::PullProgress& now) { stream->Progress(now); },
      [stream] { return stream->Wanted(); },
      [stream](const Result<image::Puller::Loaded>& result) { stream->EndLoad(result); });
  return stream.get();
}

::grpc::ServerWriteReactor<control::v1::VerifyImagesProgress>* ControlService::VerifyImages(
    ::grpc::CallbackServerContext*, const control::v1::VerifyImagesRequest* request) {
  auto stream = std::make_shared<VerifyStream>();
  stream->Keep(stream);
  engine_.VerifyImages(
      {request->images().begin(), request->images().end()},
      [stream](const engine::VerifyProgress& now) { stream->Progress(now); }, [stream] { return stream->Wanted(); },
      [stream](const Result<engine::VerifyReport>& result) { stream->End(result); });
  return stream.get();
}

}  // namespace davit::cri
