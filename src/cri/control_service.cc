#include "cri/control_service.h"

#include <memory>
#include <mutex>
#include <optional>

#include "base/strings.h"
#include "cri/convert.h"
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

// One client that watches a pull. Only the newest news waits: a slow client skips, it never slows the
// pull. Shared by gRPC, until OnDone, and by the engine's callbacks, until the pull has ended.
class ProgressStream final : public ::grpc::ServerWriteReactor<PullImageProgress> {
 public:
  explicit ProgressStream(bool explain) : explain_(explain) {}

  // Must be held by gRPC's side as long as it may call back.
  void Keep(std::shared_ptr<ProgressStream> self) { self_ = std::move(self); }

  void Progress(const image::PullProgress& now) {
    std::lock_guard lock(mutex_);
    if (done_ || finished_) return;
    waiting_ = ToMessage(now, explain_);
    Pump();
  }

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

  // `fill` makes the last message, after success.
  template <class Fill>
  void EndWith(const Status& status, Fill fill) {
    std::lock_guard lock(mutex_);
    if (done_) return;
    finished_ = status;
    if (status.ok()) {
      waiting_ = waiting_.value_or(PullImageProgress());
      fill(*waiting_);
    } else if (!explain_) {
      waiting_.reset();
    }
    Pump();
  }

  // The client is there, as far as gRPC has told.
  bool Wanted() {
    std::lock_guard lock(mutex_);
    return !cancelled_;
  }
  void OnCancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) waiting_.reset();  // the client has gone
    Pump();
  }

  void OnDone() override {
    std::shared_ptr<ProgressStream> last;
    {
      std::lock_guard lock(mutex_);
      done_ = true;
      last = std::move(self_);
    }
  }

 private:
  void Pump() {
    if (writing_) return;
    if (waiting_) {
      current_ = std::move(*waiting_);
      waiting_.reset();
      writing_ = true;
      StartWrite(&current_);
    } else if (finished_ && !ended_) {
      ended_ = true;
      Finish(ToGrpc(*finished_));
    }
  }

  const bool explain_;
  std::mutex mutex_;
  bool cancelled_ = false;
  std::optional<PullImageProgress> waiting_;
  std::optional<Status> finished_;
  PullImageProgress current_;  // the one being written
  bool writing_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::shared_ptr<ProgressStream> self_;
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

}  // namespace davit::cri
