#include "image/puller.h"

#include <fmt/format.h>
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
#include "image/artifact.h"
#include "image/layer_stack.h"
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

// Which pull fetches which layer, so that two pulls never fetch the same one. A layer is claimed by its diff ID until
// it is known to depend on its stack (layer_stack.h), then by its stack key: pulls that have it elsewhere need another
// content, and must not wait for each other's layers below.
class LayerClaims {
 public:
  // The name that was claimed, the caller's until Release; empty: another pull has it.
  std::string Claim(const std::string& diff_id, const std::string& stack_key) {
    std::lock_guard lock(mutex_);
    const std::string& name = stacked_.count(diff_id) != 0 ? stack_key : diff_id;
    return claimed_.insert(name).second ? name : std::string();
  }
  void Release(const std::string& name) {
    std::lock_guard lock(mutex_);
    claimed_.erase(name);
    for (int fd : listeners_) Poke(fd);
  }
  // The caller, who has `name`, found that the layer depends on its stack. Returns what it has now; may be empty.
  std::string DependsOnStack(const std::string& name, const std::string& diff_id, const std::string& stack_key) {
    std::lock_guard lock(mutex_);
    if (stacked_.size() < kMaxStacked) stacked_.insert(diff_id);
    if (name != diff_id) return name;
    claimed_.erase(diff_id);
    const bool claimed = claimed_.insert(stack_key).second;
    for (int fd : listeners_) Poke(fd);
    return claimed ? stack_key : std::string();
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
  static constexpr size_t kMaxStacked = 100'000;  // without its entry a layer is only fetched twice now and then
  std::set<std::string> claimed_;
  std::set<std::string> stacked_;  // diff IDs
  std::set<int> listeners_;        // eventfds of running pulls
};

}  // namespace

void AddAttempt(std::vector<PullAttempt>& attempts, PullAttempt attempt) {
  if (attempts.size() >= kMaxAttempts) {
    auto well = std::find_if(attempts.begin(), attempts.end(), [](const auto& one) { return one.verdict == "OK"; });
    if (well == attempts.end()) return;
    attempts.erase(well);
  }
  attempts.push_back(std::move(attempt));
}

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
    for (const auto& [diff_id, name] : claimed_) claims_.Release(name);
    if (notify_.valid()) claims_.Unlisten(notify_.get());
  }

  Result<ImageRecord> Run() {
    ASSIGN_OR_RETURN(notify_, MakeEventFd());
    claims_.Listen(notify_.get());
    endpoints_ = request_.endpoints;
    if (endpoints_.empty() && request_.archive.empty()) {
      ASSIGN_OR_RETURN(endpoints_, EndpointsFor(request_.reference, options_.hosts));
    }
    for (const Endpoint& endpoint : endpoints_) {
      if (!endpoint.tls.skip_verify) continue;
      LogWarning("pull {}: the certificate of {} is not checked (skip_verify)", request_.reference.String(),
                 endpoint.Host());
    }
    PullJob job;
    if (request_.archive.empty()) job.reference = request_.reference.String();
    job.archive = request_.archive;
    job.archive_image = request_.archive_image;
    job.spool = request_.spool;
    job.import_config = request_.import_config;
    job.endpoints = endpoints_;
    job.hosts = options_.hosts;
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
  // One layer of the image, at its place in the stack.
  struct Position {
    std::string diff_id;
    uint64_t blob_size = 0;
    oci::Digest diff;
    oci::Digest stack_key;
    oci::Digest key;  // under which the store has it; empty: not yet
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
    if (auto* attempt = std::get_if<AttemptEvent>(&event)) return OnAttempt(std::move(*attempt));
    if (auto* wanted = std::get_if<CredentialsEvent>(&event)) return OnCredentials(wanted->endpoint);
    if (auto* progress = std::get_if<ProgressEvent>(&event)) {
      progress_.bytes_done = progress->bytes_done;
      progress_.bytes_unpacked = progress->bytes_unpacked;
      progress_.retries = progress->retries;
      Report();
    }
    return {};
  }

  Status OnAttempt(AttemptEvent event) {
    if (event.endpoint >= endpoints_.size()) return Internal("davit-pull asked an endpoint that it was not given");
    const Endpoint& endpoint = endpoints_[event.endpoint];
    AddAttempt(progress_.attempts, {event.name + "/" + endpoint.repository, endpoint.configured_by,
                                    endpoint.credentials_source, std::move(event.asked_for), std::move(event.verdict)});
    Report();
    return {};
  }

  Status OnCredentials(uint32_t number) {
    if (number >= endpoints_.size() || !endpoints_[number].ask_credentials) {
      return Internal("davit-pull wants credentials for an endpoint that it was given none to ask for");
    }
    CredentialsCommand answer;
    answer.endpoint = number;
    Result<PullRequest::Found> found =
        request_.find_credentials ? request_.find_credentials(number) : PullRequest::Found();
    if (found.ok()) {
      answer.credentials = std::move(found->credentials);
      endpoints_[number].credentials_source = std::move(found->source);
    } else {
      const ErrorEvent error = ErrorEventOf(found.status());
      answer.code = error.code;
      answer.error = error.message;
    }
    return SendToHelper(answer);
  }

  void Report() {
    if (request_.on_progress) request_.on_progress(progress_);
  }

  Status OnResolved(ResolvedEvent event) {
    if (have_image_) return Internal("davit-pull resolved the image twice");
    have_image_ = true;
    RETURN_IF_ERROR(ReadNames(event));
    ASSIGN_OR_RETURN(std::vector<oci::Digest> diff_ids, event.artifact ? ArtifactKeys(event) : DiffIds(event));
    if (diff_ids.size() != event.layers.size()) return Internal("davit-pull named other layers than the image config");
    std::vector<std::string> held = {event.config_digest, event.manifest_digest};
    const std::vector<oci::Digest> stack_keys = StackKeys(diff_ids);
    for (size_t i = 0; i < event.layers.size(); ++i) {
      if (diff_ids[i].ToString() != event.layers[i].diff_id)
        return Internal("davit-pull named other layers than the image config");
      positions_.push_back({event.layers[i].diff_id, event.layers[i].size, diff_ids[i], stack_keys[i], {}});
      held.push_back(event.layers[i].diff_id);
      held.push_back(stack_keys[i].ToString());
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
    progress_.layers_total = static_cast<uint32_t>(positions_.size());
    for (Position& position : positions_) {
      for (const oci::Digest* key : {&position.diff, &position.stack_key}) {
        if (position.key.empty() && layers_.Check(*key)) SetKey(position, *key);
      }
    }
    progress_.layers_present = progress_.layers_done;
    image_ = std::move(event);
    FaultPoint("image.pull.resolved");
    Status settled = Settle();
    Report();
    return settled;
  }

  Result<std::vector<oci::Digest>> DiffIds(const ResolvedEvent& event) {
    ASSIGN_OR_RETURN(config_, oci::ParseImageConfig(event.config));
    return config_.diff_ids;
  }

  Result<std::vector<oci::Digest>> ArtifactKeys(const ResolvedEvent& event) {
    ASSIGN_OR_RETURN(oci::Manifest manifest, oci::ParseManifest(event.manifest));
    if (!IsArtifact(manifest)) return Internal("davit-pull named an image an artifact");
    artifact_type_ = ArtifactType(manifest);
    ASSIGN_OR_RETURN(std::vector<ArtifactFile> files, ArtifactFiles(manifest));
    std::vector<oci::Digest> keys;
    for (const ArtifactFile& file : files) keys.push_back(file.key);
    return keys;
  }

  void SetKey(Position& position, const oci::Digest& key) {
    position.key = key;
    ++progress_.layers_done;
  }

  // Notes what others have committed.
  void Look(Position& position) {
    for (const oci::Digest* key : {&position.diff, &position.stack_key}) {
      if (position.key.empty() && layers_.Has(*key)) SetKey(position, *key);
    }
  }

  // Claims what nobody else fetches; the rest waits for a poke.
  Status AskForMissing() {
    for (Position& position : positions_) {
      const std::string& diff_id = position.diff_id;
      if (!position.key.empty() || staged_.count(diff_id) != 0 || deferred_.count(diff_id) != 0) continue;
      const std::string name = claims_.Claim(diff_id, position.stack_key.ToString());
      if (name.empty()) continue;
      claimed_[diff_id] = name;
      Look(position);  // committed between our look and our claim
      if (!position.key.empty()) {
        Unclaim(diff_id);
        continue;
      }
      ASSIGN_OR_RETURN(store::LayerStaging staging, layers_.Begin(position.diff));
      FaultPoint("image.pull.staging");
      FetchCommand command{diff_id, staging.fs(), image_.artifact ? "" : staging.dir()};
      staged_.emplace(diff_id, std::move(staging));
      progress_.bytes_total += position.blob_size;
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
    return have_image_ ? Settle() : Status();
  }

  Status OnLayer(LayerEvent event) {
    auto found = staged_.find(event.diff_id);
    if (found == staged_.end())
      return Internal(fmt::format("davit-pull brought layer {}, which it was not asked for", Printable(event.diff_id)));
    store::LayerStaging staging = std::move(found->second);
    staged_.erase(found);
    for (const std::string& warning : event.warnings)
      LogWarning("pull {}: layer {}: {}", request_.reference.String(), event.diff_id, warning);
    auto position = std::find_if(positions_.begin(), positions_.end(), [&](const Position& candidate) {
      return candidate.key.empty() && candidate.diff_id == event.diff_id;
    });
    if (position == positions_.end()) {  // the same layer of the same stack came from another pull
      Unclaim(event.diff_id);
    } else if (DependsOnStack(event)) {
      std::string& name = claimed_[event.diff_id];
      name = claims_.DependsOnStack(name, event.diff_id, position->stack_key.ToString());
      std::string diff_id = event.diff_id;
      deferred_.emplace(diff_id, Deferred{std::move(staging), std::move(event)});
    } else {
      RETURN_IF_ERROR(CommitLayer(std::move(staging), event, *position, position->diff));
    }
    return Settle();
  }

  Status CommitLayer(store::LayerStaging staging, const LayerEvent& event, Position& position, const oci::Digest& key) {
    FaultPoint("image.pull.unpacked");
    staging.SetKey(key);
    RETURN_IF_ERROR(layers_.Commit(std::move(staging), {event.size, event.entries, event.root_named})
                        .Annotate(fmt::format("commit layer {}", event.diff_id)));
    FaultPoint("image.pull.layer");
    SetKey(position, key);
    // A small layer is here before the helper tells of its bytes.
    committed_bytes_ += position.blob_size;
    progress_.bytes_done = std::max(progress_.bytes_done, committed_bytes_);
    Unclaim(event.diff_id);
    Report();
    return {};
  }

  void Unclaim(const std::string& diff_id) {
    auto claimed = claimed_.find(diff_id);
    if (claimed == claimed_.end()) return;
    claims_.Release(claimed->second);
    claimed_.erase(claimed);
  }

  // From the bottom up: a layer that depends on those below is finished once they are all there.
  Status CommitDeferred() {
    std::vector<std::string> lower;  // topmost first
    for (Position& position : positions_) {
      if (position.key.empty()) {
        auto found = deferred_.find(position.diff_id);
        if (found == deferred_.end()) return {};
        Deferred deferred = std::move(found->second);
        deferred_.erase(found);
        ASSIGN_OR_RETURN_WITH(
            StackGrowth growth,
            FinishOnStack(deferred.staging.fs(), deferred.event, lower, options_.limits.max_layer_bytes),
            "layer " + position.diff_id);
        deferred.event.size += growth.bytes;
        deferred.event.entries += static_cast<uint64_t>(growth.entries);
        RETURN_IF_ERROR(CommitLayer(std::move(deferred.staging), deferred.event, position, position.stack_key));
      }
      ASSIGN_OR_RETURN(std::string path, layers_.Path(position.key));
      lower.insert(lower.begin(), std::move(path));
    }
    return {};
  }

  Status Settle() {
    for (Position& position : positions_) Look(position);
    RETURN_IF_ERROR(CommitDeferred());
    RETURN_IF_ERROR(AskForMissing());
    complete_ = staged_.empty() && std::none_of(positions_.begin(), positions_.end(),
                                                [](const Position& position) { return position.key.empty(); });
    return {};
  }

  Result<ImageRecord> CommitImage() {
    RETURN_IF_ERROR(SendToHelper(FinishCommand{asked_}));
    ASSIGN_OR_RETURN(oci::Digest manifest_digest, oci::Digest::Parse(image_.manifest_digest));
    const Reference& reference = request_.reference;
    if (request_.archive.empty() && !reference.digest().empty() && reference.digest() != image_.top_digest) {
      return DataLoss(fmt::format("asked for {}, got {}", reference.digest(), image_.top_digest));
    }
    // Both are checked against their digests here, whatever the helper said.
    if (!image_.artifact) {
      ASSIGN_OR_RETURN(oci::Digest config_digest, oci::Digest::Parse(image_.config_digest));
      RETURN_IF_ERROR(content_.Put(config_digest, image_.config));
      FaultPoint("image.pull.config");
    }
    RETURN_IF_ERROR(content_.Put(manifest_digest, image_.manifest));
    FaultPoint("image.pull.manifest");
    ImageRecord record;
    record.id = image_.artifact ? image_.manifest_digest : image_.config_digest;
    record.artifact_type = artifact_type_;
    if (!verdict_.signatures.empty()) {
      ASSIGN_OR_RETURN(oci::Digest kept, oci::Digest::Parse(verdict_.signatures));
      RETURN_IF_ERROR(content_.Put(kept, image_.signatures));
      FaultPoint("image.pull.signatures");
    }
    if (!verdict_.name.empty()) record.verdicts = {verdict_};
    if (!request_.archive.empty()) {
      record.repo_tags = loaded_.names;
      record.repo_digests = loaded_digests_;
    } else if (reference.digest().empty()) {
      record.repo_tags = {reference.TaggedName()};
      record.repo_digests = {reference.Name() + "@" + image_.top_digest};
    } else {
      record.repo_digests = {reference.DigestedName()};
    }
    record.manifest_digest = image_.manifest_digest;
    record.size = image_.config.size() + image_.manifest.size();
    std::set<oci::Digest> counted;
    for (const Position& position : positions_) {
      record.layers.push_back(position.key.ToString());
      ASSIGN_OR_RETURN(store::Layer layer, layers_.Find(position.key));
      if (counted.insert(position.key).second) record.size += layer.info.size;
    }
    record.user = config_.user;
    record.created = config_.created;
    record.architecture = config_.platform.architecture;
    record.pulled_at = WallNanos();
    ASSIGN_OR_RETURN(record, images_.Commit(std::move(record)));
    FaultPoint("image.pull.record");
    // The image is there; how the helper leaves changes nothing.
    if (Status status = helper_->Finish(Deadline::After(std::chrono::seconds(5))); !status.ok()) {
      LogDebug("pull {}: {}", request_.archive.empty() ? reference.String() : request_.archive, status.message());
    }
    return record;
  }

  // The names in the archive are anybody's words.
  Status ReadNames(const ResolvedEvent& event) {
    loaded_.images = event.archive_images;
    if (!request_.import_config.empty() && !request_.reference.empty()) {
      loaded_.names.push_back(request_.reference.TaggedName());
    }
    for (const std::string& text : event.names) {
      ASSIGN_OR_RETURN_WITH(Reference reference, Reference::Parse(text), "the archive names an image");
      loaded_.names.push_back(reference.TaggedName());
      if (event.own_digests) loaded_digests_.push_back(reference.Name() + "@" + event.top_digest);
    }
    return {};
  }

 public:
  [[nodiscard]] const Puller::Loaded& loaded() const { return loaded_; }  // after Run, without the record

 private:
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
  std::string artifact_type_;                // empty: an image
  Puller::Loaded loaded_;                    // of an archive
  std::vector<std::string> loaded_digests_;  // "repository@digest"
  bool have_image_ = false;
  bool complete_ = false;
  uint32_t asked_ = 0;
  std::vector<Position> positions_;  // bottom first
  // By diff ID; a layer that stands at two places is fetched for one after the other where they differ.
  std::map<std::string, std::string> claimed_;         // the name in claims_
  std::map<std::string, store::LayerStaging> staged_;  // asked for
  std::map<std::string, Deferred> deferred_;           // there, and waiting for those below
  std::vector<Endpoint> endpoints_;
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
  if (request.reference.empty()) return InvalidArgument("pull: empty image reference");
  ASSIGN_OR_RETURN(Loaded pulled, Fetch(request, "pull " + request.reference.String(), deadline));
  return pulled.record;
}

Result<Puller::Loaded> Puller::Load(const PullRequest& request, Deadline deadline) {
  if (!request.archive.starts_with('/')) {
    return InvalidArgument(fmt::format("load: \"{}\" is no absolute path", Printable(request.archive, 300)));
  }
  return Fetch(request, "load " + Printable(request.archive, 300), deadline);
}

Result<Puller::Loaded> Puller::Fetch(const PullRequest& request, const std::string& intent, Deadline deadline) {
  if (deadline.expired()) return DeadlineExceeded(intent + ": deadline exceeded");
  // Deleting files makes creating others slow (store/trash.h).
  store::PauseDeletion pause = state_->layers.Pause();
  const std::string id = std::string(kIntentPrefix) + MintId();
  RETURN_IF_ERROR(
      state_->database.Put(store::Kind::kIntent, id, intent.substr(intent.find(' ') + 1), store::Durability::kAtomic)
          .Annotate(intent));
  FaultPoint("image.pull.intent");
  std::shared_ptr<const PullerOptions> options = state_->Options();
  Result<Loaded> record = [&]() -> Result<Loaded> {
    PullRun run(state_->content, state_->layers, state_->images, state_->claims, *options, request, deadline);
    ASSIGN_OR_RETURN(ImageRecord image, run.Run());
    Loaded loaded = run.loaded();
    loaded.record = std::move(image);
    return loaded;
  }();
  if (Status status = state_->database.Delete(store::Kind::kIntent, id, store::Durability::kAtomic); !status.ok()) {
    LogWarning("{}: {}", intent, status.message());
  }
  if (!record.ok()) return record.status().Annotate(intent);
  return record;
}

}  // namespace davit::image
