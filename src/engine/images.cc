// The image verbs.

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <functional>

#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "engine/pull_plan.h"
#include "engine/registry_auth.h"
#include "engine/sif_images.h"
#include "engine/state.h"
#include "oci/import_config.h"

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

// image.pinned: what the kubelet's garbage collection must leave alone, however the name is written.
bool IsPinned(const config::ImageConfig& config, const image::ShortNames& names, const image::Reference& reference) {
  if (config.pinned.empty()) return false;
  const std::vector<std::string> spellings = names.Spellings(reference);
  return std::any_of(config.pinned.begin(), config.pinned.end(), [&](const std::string& glob) {
    return std::any_of(spellings.begin(), spellings.end(),
                       [&](const std::string& spelling) { return ::fnmatch(glob.c_str(), spelling.c_str(), 0) == 0; });
  });
}

Result<oci::Platform> ParsePlatform(const std::string& text) {
  if (text.empty()) return oci::HostPlatform();
  const std::vector<std::string> parts = Split(text, '/');
  const bool good =
      (parts.size() == 2 || parts.size() == 3) && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
        return !part.empty() && part.size() <= 64 &&
               part.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") == std::string::npos;
      });
  if (!good) {
    return InvalidArgument("platform \"" + Printable(text, 80) +
                           "\" is not OS/ARCHITECTURE[/VARIANT], as in linux/arm64");
  }
  return oci::NormalizePlatform({parts[1], parts[0], parts.size() == 3 ? parts[2] : "", ""});
}

Result<image::PullRequest> ToRequest(const Engine::ImportSettings& settings, const image::ShortNames& names) {
  image::PullRequest request;
  request.archive = settings.archive;
  if (!settings.reference.empty()) {
    // The first of its meanings: what the name is looked up by from then on.
    ASSIGN_OR_RETURN(std::vector<image::Reference> meanings, names.Candidates(settings.reference));
    request.reference = std::move(meanings.front());
    if (!request.reference.digest().empty()) {
      return InvalidArgument("import: \"" + Printable(settings.reference, 300) +
                             "\" has a digest, and what is imported gets its own: give it a name and a tag");
    }
  }
  oci::ImportSettings config;
  config.changes = settings.changes;
  config.comment = settings.message.empty() ? "imported from " + Printable(settings.archive, 300) : settings.message;
  config.created = FormatRfc3339Nano(WallNanos());
  ASSIGN_OR_RETURN(config.platform, ParsePlatform(settings.platform));
  ASSIGN_OR_RETURN(request.import_config, oci::MakeImportConfig(config));
  return request;
}

// `tried` and then `now`.
std::vector<image::PullAttempt> Together(std::vector<image::PullAttempt> tried,
                                         const std::vector<image::PullAttempt>& now) {
  for (const image::PullAttempt& attempt : now) image::AddAttempt(tried, attempt);
  return tried;
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
    if (layers->Damaged(digest) || !layers->Check(digest)) return NotFound("layer " + layer);
  }
  return found;
}

// On a thread of the pulls: a credential helper may take its time.
Result<image::ImageRecord> Engine::State::PullNow(image::PullRequest& request, const image::Credentials& credentials,
                                                  const std::string& pod_namespace, Deadline deadline) {
  RETURN_IF_ERROR(trust->Prepare(request, pod_namespace));
  ASSIGN_OR_RETURN(std::optional<image::SifSource> sif, SifSourceOf(config.image.sif, request.reference));
  if (sif) {
    if (request.verify) {
      return PermissionDenied("pull " + request.reference.String() +
                              ": the signature policy wants signatures, and those of SIF files are not verified");
    }
    sif->credentials = credentials;
    if (credentials.empty() && !sif->library.empty()) {
      ASSIGN_OR_RETURN(FoundCredentials found,
                       ConfiguredCredentials(config.image, request.reference, pod_namespace, deadline));
      sif->credentials = std::move(found.credentials);
    }
    return sif_puller->Pull(request, *sif, deadline);
  }
  ASSIGN_OR_RETURN(registries::Plan plan,
                   PlanPull(config.image, request.reference, credentials, pod_namespace, deadline));
  request.endpoints = std::move(plan.endpoints);
  request.find_credentials = [&](size_t number) -> Result<image::PullRequest::Found> {
    image::Endpoint& endpoint = request.endpoints[number];
    ASSIGN_OR_RETURN(FoundCredentials found, FindCredentials(config.image, endpoint, pod_namespace, deadline));
    if (!found.credentials.empty()) endpoint.credentials_source = found.source;
    return image::PullRequest::Found{std::move(found.credentials), std::move(found.source)};
  };
  Result<image::ImageRecord> pulled = puller->Pull(request, deadline);
  if (pulled.ok() && !pulled->artifact_type.empty()) pulled = AdoptSif(request, *pulled, deadline);
  if (pulled.ok()) return pulled;
  std::string text = pulled.status().message();
  if (pulled.code() == StatusCode::kUnauthenticated || pulled.code() == StatusCode::kPermissionDenied) {
    for (const image::Endpoint& endpoint : request.endpoints) {
      if (endpoint.credentials_source.empty()) continue;
      text += fmt::format(" (credentials for {} of {})", endpoint.Host(), endpoint.credentials_source);
    }
  }
  for (const std::string& note : plan.notes) text += "; " + note;
  text += preload->Hint();  // the image may be among those that come
  return Status(pulled.code(), text);
}

void Engine::PullImage(const std::string& text, const image::Credentials& credentials, const std::string& pod_namespace,
                       PullProgress progress, PullWanted wanted, Done<image::ImageRecord> done) {
  Result<std::vector<image::Reference>> names = state_->images->names().ForPull(text);
  if (!names.ok()) {
    done(names.status());
    return;
  }
  image::Credentials own = credentials;
  // The kubelet, which knows nothing of other registries, picks them for Docker Hub's image of this name.
  if (names->size() > 1 && !own.empty() && own.server_address.empty()) own.server_address = "docker.io";
  state_->PullFirst(std::move(*names), 0, {},
                    {std::move(own), pod_namespace, std::move(progress), std::move(wanted), {}}, std::move(done));
}

// A name without a registry may be in several: the first that has it counts.
void Engine::State::PullFirst(std::vector<image::Reference> names, size_t next, Status said, const Pull& pull,
                              Done<image::ImageRecord> done) {
  const image::Reference name = names[next];
  struct Latest {
    std::mutex mutex;
    std::vector<image::PullAttempt> attempts;
  };
  auto latest = std::make_shared<Latest>();
  Pull one = pull;
  if (pull.progress) {
    one.progress = [latest, tried = pull.tried, progress = pull.progress](const image::PullProgress& now) {
      {
        std::lock_guard lock(latest->mutex);
        latest->attempts = now.attempts;
      }
      if (tried.empty()) {
        progress(now);
        return;
      }
      image::PullProgress all = now;
      all.attempts = Together(tried, now.attempts);
      progress(all);
    };
  }
  auto then = [this, names = std::move(names), next, said, pull, latest,
               done = std::move(done)](const Result<image::ImageRecord>& result) mutable {
    if (result.ok()) {
      done(result);
      return;
    }
    said = said.ok() ? result.status() : Status(result.code(), said.message() + "; " + result.status().message());
    if (next + 1 == names.size() || result.code() == StatusCode::kCancelled) {
      done(said);
      return;
    }
    Pull more = pull;
    {
      std::lock_guard lock(latest->mutex);
      more.tried = Together(std::move(more.tried), latest->attempts);
    }
    PullFirst(std::move(names), next + 1, said, more, std::move(done));
  };
  PullOne(name, one, std::move(then));
}

void Engine::State::PullOne(const image::Reference& reference, const Pull& pull, Done<image::ImageRecord> done) {
  State* state = this;
  const std::string& pod_namespace = pull.pod_namespace;
  const image::Credentials& credentials = pull.credentials;
  if (Result<image::ImageRecord> present = PresentByDigest(reference);
      present.ok() && trust->Known(*present, reference, pod_namespace)) {
    done(present);
    return;
  }
  // Another namespace may have other rules, and other credentials.
  const bool by_namespace = !state->config.image.signature_policy_dir.empty() || !state->config.image.auth_dir.empty();
  const std::string rules = by_namespace ? " for " + Printable(pod_namespace) : "";
  const std::string key = PullKey(reference, credentials) + rules;
  const uint64_t client = state->pull_waiters.Enter(key, pull.wanted);
  done = [state, key, client, done = std::move(done)](const Result<image::ImageRecord>& result) {
    state->pull_waiters.Leave(key, client);  // before the client's call ends, of which it asks
    done(result);
  };
  if (pull.progress) {
    std::lock_guard lock(state->pull_listeners.mutex);
    state->pull_listeners.by_key[key].push_back(pull.progress);
  }
  image::PullRequest request;
  request.reference = reference;
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
  state->pulls.Join(key, std::move(done), [state, key, request, credentials, pod_namespace](auto finish) {
    auto work = [state, key, request, credentials, pod_namespace, finish]() mutable {
      Result<std::unique_ptr<image::PullCancel>> cancel = image::PullCancel::Create();
      if (!cancel.ok()) {
        finish(cancel.status());
        return;
      }
      request.cancel = cancel->get();
      const State::AbandonTimer timer(*state, key, **cancel);
      int64_t begin = WallNanos();
      auto began = std::chrono::steady_clock::now();
      Result<image::ImageRecord> pulled =
          state->PullNow(request, credentials, pod_namespace, Deadline::After(kPullBudget));
      state->counters.pull_seconds.Observe(std::chrono::steady_clock::now() - began);
      (pulled.ok() ? state->counters.pulls : state->counters.pull_failures).Add();
      {
        std::lock_guard lock(state->pull_listeners.mutex);
        state->pull_listeners.by_key.erase(key);
      }
      if (pulled.ok()) {
        if (IsPinned(state->config.image, state->images->names(), request.reference))
          pulled = state->images->SetPinned(pulled->id, true);
      }
      if (pulled.ok()) state->verification->Release(false);
      if (pulled.ok()) {
        LogInfo("pulled {} in {} ms: {}", request.reference.String(), (WallNanos() - begin) / 1'000'000, pulled->id);
      }
      finish(std::move(pulled));
    };
    state->pull_slots.Post(request.reference.domain(), std::move(work));
  });
}

void Engine::LoadImage(const std::string& archive, uint32_t number, PullProgress progress, PullWanted wanted,
                       Done<image::Puller::Loaded> done) {
  State* state = state_.get();
  image::PullRequest request;
  request.archive = archive;
  request.archive_image = number;
  request.on_progress = std::move(progress);
  state->LoadNow("archive " + archive + " " + std::to_string(number), std::move(request), std::move(wanted),
                 std::move(done));
}

void Engine::ImportImage(const ImportSettings& settings, PullProgress progress, PullWanted wanted,
                         Done<image::Puller::Loaded> done) {
  State* state = state_.get();
  Result<image::PullRequest> request = ToRequest(settings, state->images->names());
  if (!request.ok()) return done(request.status());
  request->on_progress = std::move(progress);
  // Two imports of one file are two images.
  state->LoadNow("import " + MintId(), std::move(*request), std::move(wanted), std::move(done));
}

Result<image::Puller::Loaded> Engine::State::LoadPreloaded(const std::string& path, uint32_t image,
                                                           const image::PullCancel& cancel) {
  image::PullRequest request;
  request.archive = path;
  request.archive_image = image;
  request.spool = config.root;
  request.cancel = &cancel;
  Result<image::Puller::Loaded> loaded = LoadArchive(request, Deadline::After(kPullBudget));
  if (!loaded.ok()) {
    if (Status swept = images->CollectLayers(); !swept.ok()) LogWarning("layers: {}", swept.message());
    return loaded;
  }
  RETURN_IF_ERROR(PinLoaded(*loaded));
  return loaded;
}

Status Engine::State::PinLoaded(image::Puller::Loaded& loaded) {
  for (const std::string& name : loaded.names) {
    Result<image::Reference> reference = image::Reference::Parse(name);  // it is normalised
    if (!reference.ok() || !IsPinned(config.image, images->names(), *reference)) continue;
    ASSIGN_OR_RETURN(loaded.record, images->SetPinned(loaded.record.id, true));
    break;
  }
  return {};
}

void Engine::State::LoadNow(const std::string& key, image::PullRequest request, PullWanted wanted,
                            Done<image::Puller::Loaded> done) {
  State* state = this;
  request.spool = state->config.root;
  const uint64_t client = state->pull_waiters.Enter(key, std::move(wanted));
  // Archives wait for each other and for no registry.
  state->pull_slots.Post("archives", [state, key, client, request, done = std::move(done)]() mutable {
    Result<image::Puller::Loaded> loaded = [&]() -> Result<image::Puller::Loaded> {
      ASSIGN_OR_RETURN(std::unique_ptr<image::PullCancel> cancel, image::PullCancel::Create());
      request.cancel = cancel.get();
      const State::AbandonTimer timer(*state, key, *cancel);
      return state->LoadArchive(request, Deadline::After(kPullBudget));
    }();
    if (loaded.ok()) {
      if (Status pinned = state->PinLoaded(*loaded); !pinned.ok()) loaded = pinned;
    }
    if (loaded.ok()) {
      state->verification->Release(false);
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
    Status status = state->RemoveUnusedImage(text);
    if (status.ok()) {
      done(Nothing{});
    } else {
      done(status.Annotate("remove image"));
    }
  });
}

// The kubelet takes away what none of its containers uses, and does not see those that people made: they need it for
// their next start.
Status Engine::State::RemoveUnusedImage(const std::string& text) {
  if (Result<image::ImageRecord> record = images->Resolve(text); record.ok()) {
    const SnapshotPtr view = View();
    for (const std::string& user : UsersOfImage(record->id)) {
      Result<ContainerPtr> container = view->FindContainer(user);
      if (container.ok() && IsStandalone(**container)) return images->Unname(record->id);
    }
  }
  return images->Remove(text);
}

void Engine::VerifyImages(const std::vector<std::string>& images, std::function<void(const VerifyProgress&)> progress,
                          PullWanted wanted, Done<VerifyReport> done) {
  state_->verification->Start(images, {std::move(progress), std::move(wanted)}, std::move(done));
}

Status Engine::TrustReadiness() const { return state_->trust->Ready(); }

image::Images& Engine::Images() { return *state_->images; }

Result<store::FilesystemUsage> Engine::ImageFilesystem() {
  return store::UsageOf(state_->config.root, *state_->layers, *state_->content);
}

store::DiskUsage Engine::WritableLayers() const { return state_->rootfs->LastUsageOfAll(); }

}  // namespace davit::engine
