// The image verbs.

#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <functional>

#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "engine/registry_auth.h"
#include "engine/sif_images.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

constexpr std::chrono::seconds kLookEach{15};
constexpr std::chrono::hours kPullBudget{6};  // stalls end a pull much earlier

// Pulls join when they ask for the same thing with the same rights. The secrets are only hashed: the key
// shows up in errors.
std::string PullKey(const image::Reference& reference, const image::Credentials& credentials) {
  size_t rights = 0;
  for (const std::string* part :
       {&credentials.username, &credentials.password, &credentials.auth, &credentials.identity_token,
        &credentials.registry_token, &credentials.server_address}) {
    rights = rights * 31 + std::hash<std::string>()(*part);
  }
  return "pull of " + reference.String() + " #" + std::to_string(rights);
}

// image.pinned: what the kubelet's garbage collection must leave alone.
bool IsPinned(const config::ImageConfig& config, const image::Reference& reference) {
  return std::any_of(config.pinned.begin(), config.pinned.end(), [&](const std::string& glob) {
    return ::fnmatch(glob.c_str(), reference.String().c_str(), 0) == 0 ||
           ::fnmatch(glob.c_str(), reference.FamiliarName().c_str(), 0) == 0;
  });
}

}  // namespace

// Looks now and then whether anybody wants the pull, for as long as it lives; ends it otherwise.
class Engine::State::AbandonTimer {
 public:
  AbandonTimer(State& state, std::string key, image::PullCancel& cancel)
      : state_(state), key_(std::move(key)), cancel_(cancel) {
    std::lock_guard lock(mutex_);
    Arm();
  }
  ~AbandonTimer() {
    uint64_t token = 0;
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      token = token_;
    }
    state_.loop->Remove(token);  // waits for a look that is under way
  }
  AbandonTimer(const AbandonTimer&) = delete;
  AbandonTimer& operator=(const AbandonTimer&) = delete;

 private:
  void Arm() {
    token_ = state_.loop->After(kLookEach, [this] {
      if (state_.pull_waiters.Abandoned(key_, std::chrono::steady_clock::now())) cancel_.Cancel();
      std::lock_guard lock(mutex_);
      if (!ended_) Arm();
    });
  }

  State& state_;
  const std::string key_;
  image::PullCancel& cancel_;
  std::mutex mutex_;
  bool ended_ = false;
  uint64_t token_ = 0;
};

// A digest cannot mean another image later: what is there is the answer, and no slot is waited for. Its layers are
// looked at, for what somebody took away is to be fetched again.
Result<image::ImageRecord> Engine::State::PresentByDigest(const image::Reference& reference) {
  if (reference.digest().empty()) return NotFound("not by digest");
  ASSIGN_OR_RETURN(image::ImageRecord found, images->Resolve(reference.DigestedName()));
  if (!reference.tag().empty() &&
      std::find(found.repo_tags.begin(), found.repo_tags.end(), reference.TaggedName()) == found.repo_tags.end()) {
    return NotFound("its tag is new");
  }
  for (const std::string& layer : found.layers) {
    ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(layer));
    if (!layers->Check(digest)) return NotFound("layer " + layer);
  }
  return found;
}

// On a thread of the pulls: a credential helper may take its time.
Result<image::ImageRecord> Engine::State::PullNow(image::PullRequest& request, const std::string& pod_namespace,
                                                  Deadline deadline) {
  std::string source = "the request";
  if (request.credentials.empty()) {
    ASSIGN_OR_RETURN(FoundCredentials found,
                     ConfiguredCredentials(config.image, request.reference, pod_namespace, deadline));
    request.credentials = std::move(found.credentials);
    source = std::move(found.source);
  }
  RETURN_IF_ERROR(trust->Prepare(request, pod_namespace));
  ASSIGN_OR_RETURN(std::optional<image::SifSource> sif, SifSourceOf(config.image.sif, request.reference));
  if (sif && request.verify) {
    return PermissionDenied("pull " + request.reference.String() +
                            ": the signature policy wants signatures, and those of SIF files are not verified");
  }
  Result<image::ImageRecord> pulled = sif ? sif_puller->Pull(request, *sif, deadline) : puller->Pull(request, deadline);
  if (pulled.ok() && !pulled->artifact_type.empty()) pulled = AdoptSif(request, *pulled, deadline);
  const bool refused =
      pulled.status().code() == StatusCode::kUnauthenticated || pulled.status().code() == StatusCode::kPermissionDenied;
  if (refused && !request.credentials.empty()) {
    return Status(pulled.status().code(), pulled.status().message() + " (credentials of " + source + ")");
  }
  return pulled;
}

void Engine::PullImage(const std::string& text, image::Credentials credentials, const std::string& pod_namespace,
                       PullProgress progress, PullWanted wanted, Done<image::ImageRecord> done) {
  State* state = state_.get();
  Result<image::Reference> reference = image::Reference::Parse(text, state->config.image.default_registry);
  if (!reference.ok()) {
    done(reference.status());
    return;
  }
  if (Result<image::ImageRecord> present = state->PresentByDigest(*reference);
      present.ok() && state->trust->Known(*present, *reference, pod_namespace)) {
    done(present);
    return;
  }
  // Another namespace may have other rules, and other credentials.
  const bool by_namespace = !state->config.image.signature_policy_dir.empty() || !state->config.image.auth_dir.empty();
  const std::string rules = by_namespace ? " for " + Printable(pod_namespace) : "";
  const std::string key = PullKey(*reference, credentials) + rules;
  const uint64_t client = state->pull_waiters.Enter(key, std::move(wanted));
  done = [state, key, client, done = std::move(done)](const Result<image::ImageRecord>& result) {
    state->pull_waiters.Leave(key, client);  // before the client's call ends, of which it asks
    done(result);
  };
  if (progress) {
    std::lock_guard lock(state->pull_listeners.mutex);
    state->pull_listeners.by_key[key].push_back(std::move(progress));
  }
  image::PullRequest request;
  request.reference = *reference;
  request.credentials = std::move(credentials);
  auto received = std::make_shared<std::atomic<uint64_t>>(0);
  request.on_progress = [state, key, received](const image::PullProgress& now) {
    state->counters.pulled_bytes.Add(now.bytes_done - std::min(now.bytes_done, received->exchange(now.bytes_done)));
    std::vector<PullProgress> listeners;
    {
      std::lock_guard lock(state->pull_listeners.mutex);
      auto it = state->pull_listeners.by_key.find(key);
      if (it != state->pull_listeners.by_key.end()) listeners = it->second;
    }
    for (const PullProgress& listener : listeners) listener(now);
  };
  state->pulls.Join(key, std::move(done), [state, key, request, pod_namespace](auto finish) {
    state->pull_slots.Post(request.reference.domain(), [state, key, request, pod_namespace, finish]() mutable {
      Result<std::unique_ptr<image::PullCancel>> cancel = image::PullCancel::Create();
      if (!cancel.ok()) {
        finish(cancel.status());
        return;
      }
      request.cancel = cancel->get();
      const State::AbandonTimer timer(*state, key, **cancel);
      int64_t begin = WallNanos();
      auto began = std::chrono::steady_clock::now();
      Result<image::ImageRecord> pulled = state->PullNow(request, pod_namespace, Deadline::After(kPullBudget));
      state->counters.pull_seconds.Observe(std::chrono::steady_clock::now() - began);
      (pulled.ok() ? state->counters.pulls : state->counters.pull_failures).Add();
      {
        std::lock_guard lock(state->pull_listeners.mutex);
        state->pull_listeners.by_key.erase(key);
      }
      if (pulled.ok()) {
        if (IsPinned(state->config.image, request.reference)) pulled = state->images->SetPinned(pulled->id, true);
      }
      if (pulled.ok()) {
        LogInfo("pulled {} in {} ms: {}", request.reference.String(), (WallNanos() - begin) / 1'000'000, pulled->id);
      }
      finish(std::move(pulled));
    });
  });
}

void Engine::LoadImage(const std::string& archive, uint32_t number, PullProgress progress, PullWanted wanted,
                       Done<image::Puller::Loaded> done) {
  State* state = state_.get();
  const std::string key = "archive " + archive + " " + std::to_string(number);
  const uint64_t client = state->pull_waiters.Enter(key, std::move(wanted));
  image::PullRequest request;
  request.archive = archive;
  request.archive_image = number;
  request.spool = state->config.root;
  request.on_progress = std::move(progress);
  // Archives wait for each other and for no registry.
  state->pull_slots.Post("archives", [state, key, client, request, done = std::move(done)]() mutable {
    Result<image::Puller::Loaded> loaded = [&]() -> Result<image::Puller::Loaded> {
      ASSIGN_OR_RETURN(std::unique_ptr<image::PullCancel> cancel, image::PullCancel::Create());
      request.cancel = cancel.get();
      const State::AbandonTimer timer(*state, key, *cancel);
      return state->LoadNow(request, Deadline::After(kPullBudget));
    }();
    if (loaded.ok()) {
      LogInfo("loaded {} from {}", loaded->record.id, Printable(request.archive, 300));
    } else if (Status swept = state->images->CollectLayers(); !swept.ok()) {
      // Unlike a pull, which the kubelet repeats: what came of a bad archive is of no use.
      LogWarning("layers of {}: {}", Printable(request.archive, 300), swept.message());
    }
    state->pull_waiters.Leave(key, client);  // before the client's call ends, of which it asks
    done(loaded);
  });
}

void Engine::RemoveImage(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  state->image_pool.Post([state, text, done = std::move(done)] {  // behind no pull
    Status status = state->images->Remove(text);
    if (status.ok()) {
      done(Nothing{});
    } else {
      done(status.Annotate("remove image"));
    }
  });
}

Status Engine::TrustReadiness() const { return state_->trust->Ready(); }

image::Images& Engine::Images() { return *state_->images; }

Result<store::FilesystemUsage> Engine::ImageFilesystem() {
  return store::UsageOf(state_->config.root, *state_->layers, *state_->content);
}

store::DiskUsage Engine::WritableLayers() const { return state_->rootfs->LastUsageOfAll(); }

}  // namespace davit::engine
