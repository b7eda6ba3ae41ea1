// The image verbs.

#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <functional>

#include "base/log.h"
#include "base/time.h"
#include "engine/registry_auth.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

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

void Engine::PullImage(const std::string& text, image::Credentials credentials, PullProgress progress,
                       Done<image::ImageRecord> done) {
  State* state = state_.get();
  Result<image::Reference> reference = image::Reference::Parse(text, state->config.image.default_registry);
  if (!reference.ok()) {
    done(reference.status());
    return;
  }
  if (credentials.empty()) {
    Result<image::Credentials> configured = ConfiguredCredentials(state->config.image.registries, reference->domain());
    if (!configured.ok()) {
      done(configured.status());
      return;
    }
    credentials = std::move(*configured);
  }
  const std::string key = PullKey(*reference, credentials);
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
  state->pulls.Join(key, std::move(done), [state, key, request](auto finish) {
    state->pull_pool.Post([state, key, request, finish] {
      int64_t begin = WallNanos();
      auto began = std::chrono::steady_clock::now();
      Result<image::ImageRecord> pulled = state->puller->Pull(request, Deadline::After(kPullBudget));
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

void Engine::RemoveImage(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  state->pull_pool.Post([state, text, done = std::move(done)] {
    Status status = state->images->Remove(text);
    if (status.ok()) {
      done(Nothing{});
    } else {
      done(status.Annotate("remove image"));
    }
  });
}

image::Images& Engine::Images() { return *state_->images; }

Result<store::FilesystemUsage> Engine::ImageFilesystem() {
  return store::UsageOf(state_->config.root, *state_->layers, *state_->content);
}

store::DiskUsage Engine::WritableLayers() const { return state_->rootfs->LastUsageOfAll(); }

}  // namespace davit::engine
