#include "image/puller.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>
#include <string_view>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/rollback.h"
#include "base/strings.h"
#include "base/time.h"
#include "image/implicit_directories.h"
#include "image/pull_helper.h"
#include "image/sha256.h"
#include "oci/image_spec.h"
#include "store/content.h"
#include "store/database.h"
#include "store/layers.h"

namespace davit::image {
namespace {

constexpr std::string_view kIntentPrefix = "pull/";

Result<sys::UniqueFd> MakeEventFd() {
  sys::UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, "eventfd");
  return fd;
}

void Poke(int fd) {
  const uint64_t one = 1;
  IgnoreError(::write(fd, &one, sizeof one) < 0 ? Internal("") : Status());  // full means poked already
}

// Which pull fetches which layer, so that two pulls never fetch the same one.
class LayerClaims {
 public:
  // True: the layer is the caller's until Release.
  bool Claim(const std::string& diff_id) {
    std::lock_guard lock(mutex_);
    return claimed_.insert(diff_id).second;
  }
  void Release(const std::string& diff_id) {
    std::lock_guard lock(mutex_);
    claimed_.erase(diff_id);
    for (int fd : listeners_) Poke(fd);
  }
  void Listen(int fd) {
    std::lock_guard lock(mutex_);
    listeners_.insert(fd);
  }
  void Unlisten(int fd) {
    std::lock_guard lock(mutex_);
    listeners_.erase(fd);
  }

 private:
  std::mutex mutex_;
  std::set<std::string> claimed_;
  std::set<int> listeners_;  // eventfds of running pulls
};

}  // namespace

Result<std::unique_ptr<PullCancel>> PullCancel::Create() {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, MakeEventFd());
  return std::unique_ptr<PullCancel>(new PullCancel(std::move(fd)));
}
void PullCancel::Cancel() { Poke(fd_.get()); }

struct Puller::State {
  store::Database& database;
  store::Content& content;
  store::LayerDriver& layers;
  Images& images;
  std::mutex mutex;
  std::shared_ptr<const PullerOptions> options;  // guarded by mutex
  LayerClaims claims;

  std::shared_ptr<const PullerOptions> Options() {
    std::lock_guard lock(mutex);
    return options;
  }
};

namespace {

// One pull, from its intent to its record.
class PullRun {
 public:
  PullRun(store::Content& content, store::LayerDriver& layers, Images& images, LayerClaims& claims,
          const PullerOptions& options, const PullRequest& request, Deadline deadline)
      : content_(content),
        layers_(layers),
        images_(images),
        claims_(claims),
        options_(options),
        request_(request),
        deadline_(deadline) {}

  ~PullRun() {
    helper_.reset();  // it must be gone before its directories are
    staged_.clear();
    for (const std::string& diff_id : claimed_) claims_.Release(diff_id);
    if (notify_.valid()) claims_.Unlisten(notify_.get());
  }

  Result<ImageRecord> Run() {
    ASSIGN_OR_RETURN(notify_, MakeEventFd());
    claims_.Listen(notify_.get());
    auto host = options_.hosts.find(request_.reference.domain());
    if (host != options_.hosts.end() && host->second.skip_verify) {
      LogWarning("pull {}: the certificate of {} is not checked (skip_verify)", request_.reference.String(),
                 host->first);
    }
    PullJob job;
    job.reference = request_.reference.String();
    job.hosts = options_.hosts;
    job.credentials = request_.credentials;
    job.platform = request_.platform;
    job.limits = options_.limits;
    job.signatures = request_.signatures;
    ASSIGN_OR_RETURN(helper_, PullHelper::Start(options_.helper_path, job));
    FaultPoint("image.pull.helper");
    while (!complete_) {
      ASSIGN_OR_RETURN(PullHelper::Wake wake, helper_->Wait(request_.cancel != nullptr ? request_.cancel->fd() : -1,
                                                            notify_.get(), deadline_));
      switch (wake) {
        case PullHelper::Wake::kCancelled:
          return Cancelled("cancelled by the caller");
        case PullHelper::Wake::kDeadline:
          return DeadlineExceeded(fmt::format("deadline exceeded after {} of {}", HumanBytes(progress_.bytes_done),
                                              HumanBytes(progress_.bytes_total)));
        case PullHelper::Wake::kNotified:
          RETURN_IF_ERROR(OnNotified());
          break;
        case PullHelper::Wake::kEvent:
          RETURN_IF_ERROR(OnEvent());
          break;
      }
    }
    return CommitImage();
  }

 private:
  struct Wanted {
    uint64_t size = 0;  // of the blob
  };
  struct Deferred {
    store::LayerStaging staging;
    LayerEvent event;
  };

  Status OnEvent() {
    ASSIGN_OR_RETURN(PullEvent event, helper_->Take());
    if (auto* error = std::get_if<ErrorEvent>(&event)) return StatusOf(*error);
    if (auto* resolved = std::get_if<ResolvedEvent>(&event)) return OnResolved(std::move(*resolved));
    if (auto* layer = std::get_if<LayerEvent>(&event)) return OnLayer(std::move(*layer));
    if (auto* progress = std::get_if<ProgressEvent>(&event)) {
      progress_.bytes_done = progress->bytes_done;
      progress_.bytes_unpacked = progress->bytes_unpacked;
      progress_.retries = progress->retries;
      Report();
    }
    return {};
  }

  void Report() {
    if (request_.on_progress) request_.on_progress(progress_);
  }

  Status OnResolved(ResolvedEvent event) {
    if (have_image_) return Internal("davit-pull resolved the image twice");
    have_image_ = true;
    ASSIGN_OR_RETURN(config_, oci::ParseImageConfig(event.config));
    if (config_.diff_ids.size() != event.layers.size())
      return Internal("davit-pull named other layers than the image config");
    std::vector<std::string> held = {event.config_digest, event.manifest_digest};
    for (size_t i = 0; i < event.layers.size(); ++i) {
      if (config_.diff_ids[i].ToString() != event.layers[i].diff_id)
        return Internal("davit-pull named other layers than the image config");
      order_.push_back(event.layers[i].diff_id);
      held.push_back(event.layers[i].diff_id);
      wanted_.emplace(event.layers[i].diff_id, Wanted{event.layers[i].size});
    }
    if (request_.verify) {
      ASSIGN_OR_RETURN(verdict_, request_.verify(event.manifest_digest, event.signatures));
      if (!event.signatures.empty()) {
        verdict_.signatures = Sha256::Of(event.signatures).ToString();
        held.push_back(verdict_.signatures);
      }
      FaultPoint("image.pull.verified");
    }
    // From here on no removal takes what is already there from under us.
    hold_ = images_.Hold(held);
    progress_.layers_total = static_cast<uint32_t>(wanted_.size());
    for (const auto& [diff_id, wanted] : wanted_) {
      if (layers_.Check(*oci::Digest::Parse(diff_id))) {
        ++progress_.layers_present;
        ++progress_.layers_done;
      } else {
        missing_.insert(diff_id);
      }
    }
    image_ = std::move(event);
    FaultPoint("image.pull.resolved");
    RETURN_IF_ERROR(AskForMissing());
    Report();
    return Settle();
  }

  // Claims what nobody else fetches; the rest waits for a poke.
  Status AskForMissing() {
    for (auto it = missing_.begin(); it != missing_.end();) {
      const std::string diff_id = *it;
      ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(diff_id));
      if (layers_.Has(digest)) {
        ++progress_.layers_done;
        it = missing_.erase(it);
        continue;
      }
      if (!claims_.Claim(diff_id)) {
        ++it;
        continue;
      }
      claimed_.insert(diff_id);
      it = missing_.erase(it);
      if (layers_.Has(digest)) {  // committed between our look and our claim
        ++progress_.layers_done;
        Unclaim(diff_id);
        continue;
      }
      ASSIGN_OR_RETURN(store::LayerStaging staging, layers_.Begin(digest));
      FaultPoint("image.pull.staging");
      FetchCommand command{diff_id, staging.fs()};
      staged_.emplace(diff_id, std::move(staging));
      progress_.bytes_total += wanted_[diff_id].size;
      ++asked_;
      RETURN_IF_ERROR(SendToHelper(command));
    }
    return {};
  }

  // A helper that has died says why itself, if it could: the next Wait has that, so this is no error.
  Status SendToHelper(const PullCommand& command) {
    if (Status status = helper_->Send(command); !status.ok()) LogDebug("davit-pull: {}", status.message());
    return {};
  }

  Status OnNotified() {
    uint64_t count = 0;
    while (::read(notify_.get(), &count, sizeof count) > 0) {
    }
    if (!have_image_) return {};
    RETURN_IF_ERROR(AskForMissing());
    return Settle();
  }

  Status OnLayer(LayerEvent event) {
    auto found = staged_.find(event.diff_id);
    if (found == staged_.end())
      return Internal(fmt::format("davit-pull brought layer {}, which it was not asked for", Printable(event.diff_id)));
    store::LayerStaging staging = std::move(found->second);
    staged_.erase(found);
    for (const std::string& warning : event.warnings)
      LogWarning("pull {}: layer {}: {}", request_.reference.String(), event.diff_id, warning);
    if (event.implicit_directories.empty()) {
      RETURN_IF_ERROR(CommitLayer(std::move(staging), event));
    } else {
      std::string diff_id = event.diff_id;
      deferred_.emplace(diff_id, Deferred{std::move(staging), std::move(event)});
    }
    return Settle();
  }

  Status CommitLayer(store::LayerStaging staging, const LayerEvent& event) {
    FaultPoint("image.pull.unpacked");
    RETURN_IF_ERROR(layers_.Commit(std::move(staging), {event.size, event.entries})
                        .Annotate(fmt::format("commit layer {}", event.diff_id)));
    FaultPoint("image.pull.layer");
    ++progress_.layers_done;
    // A small layer is here before the helper tells of its bytes.
    committed_bytes_ += wanted_[event.diff_id].size;
    progress_.bytes_done = std::max(progress_.bytes_done, committed_bytes_);
    Unclaim(event.diff_id);
    Report();
    return {};
  }

  void Unclaim(const std::string& diff_id) {
    claimed_.erase(diff_id);
    claims_.Release(diff_id);
  }

  // Layers whose directories take after those below: once all of ours are there, from the bottom up. It does
  // not wait for layers that other pulls fetch: they may be waiting for these.
  Status CommitDeferred() {
    std::vector<std::string> lower;  // topmost first
    for (const std::string& diff_id : order_) {
      if (auto it = deferred_.find(diff_id); it != deferred_.end()) {
        Deferred deferred = std::move(it->second);
        deferred_.erase(it);
        RETURN_IF_ERROR(CopyLowerMetadata(deferred.staging.fs(), deferred.event.implicit_directories, lower));
        RETURN_IF_ERROR(CommitLayer(std::move(deferred.staging), deferred.event));
      }
      Result<std::string> path = layers_.Path(*oci::Digest::Parse(diff_id));
      if (path.ok()) lower.insert(lower.begin(), *path);
    }
    return {};
  }

  Status Settle() {
    if (!staged_.empty()) return {};
    RETURN_IF_ERROR(CommitDeferred());
    complete_ = missing_.empty();
    return {};
  }

  Result<ImageRecord> CommitImage() {
    RETURN_IF_ERROR(SendToHelper(FinishCommand{asked_}));
    ASSIGN_OR_RETURN(oci::Digest config_digest, oci::Digest::Parse(image_.config_digest));
    ASSIGN_OR_RETURN(oci::Digest manifest_digest, oci::Digest::Parse(image_.manifest_digest));
    const Reference& reference = request_.reference;
    if (!reference.digest().empty() && reference.digest() != image_.top_digest) {
      return DataLoss(fmt::format("asked for {}, got {}", reference.digest(), image_.top_digest));
    }
    // Both are checked against their digests here, whatever the helper said.
    RETURN_IF_ERROR(content_.Put(config_digest, image_.config));
    FaultPoint("image.pull.config");
    RETURN_IF_ERROR(content_.Put(manifest_digest, image_.manifest));
    FaultPoint("image.pull.manifest");
    ImageRecord record;
    record.id = image_.config_digest;
    if (!verdict_.signatures.empty()) {
      ASSIGN_OR_RETURN(oci::Digest kept, oci::Digest::Parse(verdict_.signatures));
      RETURN_IF_ERROR(content_.Put(kept, image_.signatures));
      FaultPoint("image.pull.signatures");
    }
    if (!verdict_.name.empty()) record.verdicts = {verdict_};
    if (reference.digest().empty()) {
      record.repo_tags = {reference.TaggedName()};
      record.repo_digests = {reference.Name() + "@" + image_.top_digest};
    } else {
      record.repo_digests = {reference.DigestedName()};
    }
    record.manifest_digest = image_.manifest_digest;
    record.layers = order_;
    record.size = image_.config.size() + image_.manifest.size();
    for (const auto& [diff_id, wanted] : wanted_) {
      ASSIGN_OR_RETURN(store::Layer layer, layers_.Find(*oci::Digest::Parse(diff_id)));
      record.size += layer.info.size;
    }
    record.user = config_.user;
    record.created = config_.created;
    record.architecture = config_.platform.architecture;
    record.pulled_at = WallNanos();
    const std::string name = reference.String();
    record.pinned = std::any_of(options_.pinned.begin(), options_.pinned.end(),
                                [&](const std::string& glob) { return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0; });
    ASSIGN_OR_RETURN(record, images_.Commit(std::move(record)));
    FaultPoint("image.pull.record");
    // The image is there; how the helper leaves changes nothing.
    if (Status status = helper_->Finish(Deadline::After(std::chrono::seconds(5))); !status.ok()) {
      LogDebug("pull {}: {}", name, status.message());
    }
    return record;
  }

  store::Content& content_;
  store::LayerDriver& layers_;
  Images& images_;
  LayerClaims& claims_;
  const PullerOptions& options_;
  const PullRequest& request_;
  Deadline deadline_;
  sys::UniqueFd notify_;
  LayerHold hold_;
  ResolvedEvent image_;
  Verdict verdict_;
  oci::ImageConfig config_;
  bool have_image_ = false;
  bool complete_ = false;
  uint32_t asked_ = 0;
  std::vector<std::string> order_;        // diff IDs, bottom first
  std::map<std::string, Wanted> wanted_;  // by diff ID, each once
  std::set<std::string> missing_;         // neither here nor asked for: another pull has them
  std::set<std::string> claimed_;
  std::map<std::string, store::LayerStaging> staged_;  // asked for
  std::map<std::string, Deferred> deferred_;
  PullProgress progress_;
  uint64_t committed_bytes_ = 0;  // compressed, of the layers that are in the store
  std::unique_ptr<PullHelper> helper_;
};

}  // namespace

Puller::Puller(store::Database& database, store::Content& content, store::LayerDriver& layers, Images& images,
               PullerOptions options)
    : state_(new State{
          database, content, layers, images, {}, std::make_shared<const PullerOptions>(std::move(options)), {}}) {}

Puller::~Puller() = default;

void Puller::SetOptions(PullerOptions options) {
  auto fresh = std::make_shared<const PullerOptions>(std::move(options));
  std::lock_guard lock(state_->mutex);
  state_->options = std::move(fresh);
}

Status Puller::Recover() {
  ASSIGN_OR_RETURN(std::vector<store::Record> intents, state_->database.LoadAll(store::Kind::kIntent));
  store::Batch batch;
  for (const store::Record& intent : intents) {
    if (!intent.id.starts_with(kIntentPrefix)) continue;
    // Its staging directories are gone (LayerDriver::Recover), its content and layers that no image names
    // as well (Images::Recover).
    LogInfo("the pull of {} was interrupted", Printable(intent.body, 300));
    batch.Delete(store::Kind::kIntent, intent.id);
  }
  return state_->database.Apply(batch, store::Durability::kDurable);
}

Result<ImageRecord> Puller::Pull(const PullRequest& request, Deadline deadline) {
  const std::string intent = "pull " + request.reference.String();
  if (request.reference.empty()) return InvalidArgument("pull: empty image reference");
  if (deadline.expired()) return DeadlineExceeded(intent + ": deadline exceeded");
  // Deleting files makes creating others slow (store/trash.h).
  store::PauseDeletion pause = state_->layers.Pause();
  const std::string id = std::string(kIntentPrefix) + MintId();
  RETURN_IF_ERROR(state_->database.Put(store::Kind::kIntent, id, request.reference.String(), store::Durability::kAtomic)
                      .Annotate(intent));
  FaultPoint("image.pull.intent");
  std::shared_ptr<const PullerOptions> options = state_->Options();
  Result<ImageRecord> record = [&] {
    PullRun run(state_->content, state_->layers, state_->images, state_->claims, *options, request, deadline);
    return run.Run();
  }();
  if (Status status = state_->database.Delete(store::Kind::kIntent, id, store::Durability::kAtomic); !status.ok()) {
    LogWarning("{}: {}", intent, status.message());
  }
  if (!record.ok()) return record.status().Annotate(intent);
  return record;
}

}  // namespace davit::image
