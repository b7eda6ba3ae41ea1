#include "engine/verification.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "image/journal_verifier.h"
#include "store/content.h"

namespace davit::engine {
namespace {

constexpr const char* kRunning = "running";                    // intent: davitd runs in this boot
constexpr std::string_view kUnverifiedPrefix = "unverified/";  // intents: layers that a start has to verify
constexpr int kStartRest = 9;
constexpr std::chrono::hours kHeldFor{1};

std::vector<std::string> NamesOf(const image::ImageRecord& record) {
  if (!record.repo_tags.empty()) return record.repo_tags;
  if (!record.repo_digests.empty()) return record.repo_digests;
  return {record.id};
}

std::string Described(const store::LayerFindings& findings) {
  const store::LayerDamage& first = findings.damaged.front();
  std::string text = first.path.empty() ? first.what : Printable(first.path, 200) + ": " + first.what;
  if (findings.damages > 1) text += fmt::format("; and {} more", findings.damages - 1);
  return text;
}

// The strongest first.
std::vector<std::unique_ptr<store::LayerVerifier>> LayerVerifiers() {
  std::vector<std::unique_ptr<store::LayerVerifier>> verifiers;
  verifiers.push_back(std::make_unique<store::ChecksumVerifier>());
  verifiers.push_back(std::make_unique<image::JournalVerifier>());
  verifiers.push_back(std::make_unique<store::CountVerifier>());
  return verifiers;
}

}  // namespace

struct Verification::Run {
  const Callbacks& callbacks;
  VerifyReport report;
  VerifyProgress progress;

  bool Advance(uint64_t bytes) {
    progress.bytes_read += bytes;
    if (callbacks.progress) callbacks.progress(progress);
    return !callbacks.wanted || callbacks.wanted();
  }
};

Verification::Verification(store::Database& database, store::Content& content, store::LayerDriver& layers,
                           image::Images& images)
    : database_(database), content_(content), layers_(layers), images_(images), verifiers_(LayerVerifiers()) {}

void Verification::Start(const std::vector<std::string>& texts, Callbacks callbacks,
                         std::function<void(const Result<VerifyReport>&)> done) {
  std::vector<image::ImageRecord> records;
  if (texts.empty()) records = *images_.List();
  for (const std::string& text : texts) {
    Result<image::ImageRecord> record = images_.Resolve(text);
    if (!record.ok()) return done(record.status());
    records.push_back(std::move(*record));
  }
  auto shared = std::make_shared<std::function<void(const Result<VerifyReport>&)>>(std::move(done));
  const bool posted =
      requests_.Post([this, records, callbacks = std::move(callbacks), shared](sched::IdleWorker::Pace& pace) mutable {
        callbacks.wanted = [&pace, wanted = std::move(callbacks.wanted)] {
          return !pace.ending() && (!wanted || wanted());
        };
        (*shared)(Verify(records, callbacks));
      });
  if (!posted) (*shared)(Unavailable("verify images: no thread for it"));
}

Result<VerifyReport> Verification::Verify(const std::vector<image::ImageRecord>& images, const Callbacks& callbacks) {
  Run run{callbacks, {}, {}};
  std::set<std::string> layers;
  for (const image::ImageRecord& record : images) {
    layers.insert(record.layers.begin(), record.layers.end());
  }
  run.progress.layers_total = static_cast<uint32_t>(layers.size());
  for (const std::string& name : layers) {
    Result<oci::Digest> digest = oci::Digest::Parse(name);
    Result<store::Layer> layer = digest.ok() ? layers_.Find(*digest) : Result<store::Layer>(digest.status());
    if (layer.ok()) run.progress.bytes_total += layer->content_bytes.value_or(layer->info.size);
  }
  for (const image::ImageRecord& record : images) {
    if (!run.Advance(0)) return Cancelled("verify images: cancelled");
    VerifyContent(record, run);
    ++run.report.images;
  }
  for (const std::string& name : layers) {
    RETURN_IF_ERROR(VerifyLayer(name, run));
    ++run.progress.layers_done;
    ++run.report.layers;
  }
  run.report.bytes_read = run.progress.bytes_read;
  run.Advance(0);
  Release(false);
  return std::move(run.report);
}

// Reading a blob removes one that is not what its digest says.
void Verification::VerifyContent(const image::ImageRecord& record, Run& run) {
  const bool artifact = !record.artifact_type.empty();
  bool damaged = false;
  for (const auto& [kind, text] : {std::pair(Damage::Kind::kConfig, artifact ? std::string() : record.ConfigDigest()),
                                   std::pair(Damage::Kind::kManifest, record.manifest_digest)}) {
    if (text.empty()) continue;
    Result<oci::Digest> digest = oci::Digest::Parse(text);
    Status got = digest.ok() ? content_.Get(*digest).status() : digest.status();
    if (got.ok()) continue;
    if (got.code() != StatusCode::kDataLoss && got.code() != StatusCode::kNotFound) {
      run.report.unchecked.push_back(text + ": " + got.message());
      continue;
    }
    // Removed meanwhile, it is nobody's.
    if (images_.Find(record.id).code() == StatusCode::kNotFound) return;
    Damage damage;
    damage.kind = kind;
    damage.digest = text;
    damage.images = NamesOf(record);
    damage.damages = 1;
    run.report.damage.push_back(std::move(damage));
    damaged = true;
  }
  if (!damaged) return;
  Held rest = HoldRest(record, "");
  if (Status forgotten = images_.Forget(record); !forgotten.ok()) {
    run.report.unchecked.push_back(record.id + ": " + forgotten.message());
  } else {
    Keep(record.id, std::move(rest));
  }
}

bool Verification::Enter(const std::string& layer, Run& run) {
  std::unique_lock lock(mutex_);
  while (!verifying_.insert(layer).second) {
    left_.wait_for(lock, std::chrono::milliseconds(200));
    lock.unlock();  // it asks others
    const bool wanted = run.Advance(0);
    lock.lock();
    if (!wanted) return false;
  }
  return true;
}

void Verification::Leave(const std::string& layer) {
  std::lock_guard lock(mutex_);
  verifying_.erase(layer);
  left_.notify_all();
}

Status Verification::VerifyLayer(const std::string& name, Run& run) {
  if (!Enter(name, run)) return Cancelled("verify images: cancelled");
  Status done = VerifyEntered(name, run);
  Leave(name);
  return done;
}

Status Verification::VerifyEntered(const std::string& name, Run& run) {
  Result<oci::Digest> digest = oci::Digest::Parse(name);
  Result<store::Layer> layer = digest.ok() ? layers_.Find(*digest) : Result<store::Layer>(digest.status());
  if (!layer.ok()) return {};  // removed meanwhile
  // Nobody removes it while it is looked at.
  image::LayerHold hold = images_.Hold({name});
  Result<store::LayerFindings> findings = NotFound("no verifier");
  for (const auto& verifier : verifiers_) {
    findings = verifier->Verify(*layer, [&](uint64_t bytes) { return run.Advance(bytes); });
    if (findings.code() != StatusCode::kNotFound) break;
  }
  hold = image::LayerHold();
  if (findings.code() == StatusCode::kCancelled) return Cancelled("verify images: cancelled");
  if (!layers_.Has(*digest)) return {};
  if (!findings.ok()) {
    run.report.unchecked.push_back("layer " + name + ": " + findings.status().message());
    return {};
  }
  if (findings->damages != 0) return OnDamage(*layer, std::move(*findings), run);
  if (findings->method != "checksums") ++run.report.first_time;
  return Forget(name);
}

Status Verification::OnDamage(const store::Layer& layer, store::LayerFindings findings, Run& run) {
  const std::string name = layer.diff_id.ToString();
  Damage damage;
  damage.digest = name;
  damage.damages = findings.damages;
  damage.images = LetGo(name);  // of an image that has another damaged layer, or none that is known any more
  std::map<std::string, Held> rest;
  const image::ImageList list = images_.List();
  for (const image::ImageRecord& record : *list) {
    if (std::find(record.layers.begin(), record.layers.end(), name) == record.layers.end()) continue;
    const std::vector<std::string> names = NamesOf(record);
    damage.images.insert(damage.images.end(), names.begin(), names.end());
    rest.emplace(record.id, HoldRest(record, name));
  }
  Result<image::Images::SetAside> aside = images_.SetAsideLayer(layer.diff_id, Described(findings));
  damage.damaged = std::move(findings.damaged);
  if (aside.ok()) {
    damage.in_use = aside->in_use;
    damage.quarantine = aside->quarantine;
    for (const image::ImageRecord& record : aside->forgotten) {
      if (auto held = rest.extract(record.id); !held.empty()) Keep(record.id, std::move(held.mapped()));
    }
  } else {
    run.report.unchecked.push_back("layer " + name + " is damaged and is still in use: " + aside.status().message());
  }
  run.report.damage.push_back(std::move(damage));
  return Forget(name);
}

// While an image is away, until it is pulled again, what is sound of it stays.
Verification::Held Verification::HoldRest(const image::ImageRecord& record, const std::string& but) {
  Held held;
  held.names = NamesOf(record);
  std::copy_if(record.layers.begin(), record.layers.end(), std::back_inserter(held.layers),
               [&](const std::string& layer) { return layer != but; });
  held.hold = images_.Hold(held.layers);
  return held;
}

void Verification::Keep(const std::string& image, Held held) {
  {
    std::lock_guard lock(mutex_);
    held_[image] = std::move(held);
  }
  if (on_forgotten_) on_forgotten_(image);
  std::lock_guard lock(mutex_);
  if (release_set_) return;
  release_set_ = start_.Post([this](sched::IdleWorker::Pace& pace) {
    if (!pace.Sleep(kHeldFor)) return;
    Release(true);
  });
}

std::vector<std::string> Verification::LetGo(const std::string& layer) {
  std::vector<std::string> names;
  std::lock_guard lock(mutex_);
  for (auto& [image, held] : held_) {
    if (std::erase(held.layers, layer) == 0) continue;
    names.insert(names.end(), held.names.begin(), held.names.end());
    held.hold = images_.Hold(held.layers);
  }
  return names;
}

void Verification::Release(bool all) {
  std::map<std::string, Held> gone;
  {
    std::lock_guard lock(mutex_);
    for (auto it = held_.begin(); it != held_.end();) {
      if (all || images_.Find(it->first).ok()) {
        gone.insert(held_.extract(it++));
      } else {
        ++it;
      }
    }
    if (all) release_set_ = false;
  }
  const bool any = !gone.empty();
  gone.clear();
  if (!all || !any) return;
  if (Status swept = images_.CollectLayers(); !swept.ok()) LogWarning("layers: {}", swept.message());
}

Status Verification::ResumeAfter(const std::string& boot_id) {
  ASSIGN_OR_RETURN(std::vector<store::Record> intents, database_.LoadAll(store::Kind::kIntent));
  store::Batch batch;
  bool unclean = false;
  std::lock_guard lock(mutex_);
  for (const store::Record& intent : intents) {
    if (intent.id == kRunning) unclean = intent.body != boot_id;
    if (!intent.id.starts_with(kUnverifiedPrefix)) continue;
    const std::string layer = intent.id.substr(kUnverifiedPrefix.size());
    Result<oci::Digest> digest = oci::Digest::Parse(layer);
    if (digest.ok() && layers_.Has(*digest)) {
      pending_.insert(layer);
    } else {
      batch.Delete(store::Kind::kIntent, intent.id);
    }
  }
  if (unclean) {
    for (const store::Layer& layer : layers_.List()) {
      const std::string name = layer.diff_id.ToString();
      if (pending_.insert(name).second) batch.Put(store::Kind::kIntent, std::string(kUnverifiedPrefix) + name, "");
    }
    LogInfo("the machine went down while davitd ran: {} layers are verified in the background", pending_.size());
  }
  batch.Put(store::Kind::kIntent, kRunning, boot_id);
  RETURN_IF_ERROR(database_.Apply(batch, store::Durability::kDurable));
  if (!pending_.empty()) start_.Post([this](sched::IdleWorker::Pace& pace) { VerifyPending(pace); });
  return {};
}

void Verification::NoteCleanStop() {
  if (Status s = database_.Delete(store::Kind::kIntent, kRunning, store::Durability::kDurable); !s.ok()) {
    LogWarning("note the clean stop: {}", s.message());
  }
}

void Verification::VerifyPending(sched::IdleWorker::Pace& pace) {
  std::set<std::string> todo;
  {
    std::lock_guard lock(mutex_);
    todo = pending_;
  }
  uint64_t since_rest = 0;
  Callbacks callbacks;
  uint64_t last = 0;
  callbacks.progress = [&](const VerifyProgress& now) {
    since_rest += now.bytes_read - std::min(now.bytes_read, last) + 4096;
    last = now.bytes_read;
  };
  callbacks.wanted = [&] {
    if (since_rest < (4U << 20)) return !pace.ending();
    since_rest = 0;
    return pace.Rest(kStartRest);
  };
  Run run{callbacks, {}, {}};
  for (const std::string& name : todo) {
    if (!VerifyLayer(name, run).ok()) return;  // the engine ends, or its database cannot be written: a later start
  }
  for (const Damage& damage : run.report.damage) {
    LogError("{} was damaged when the machine went down; pull {} again", damage.digest, Join(damage.images, ", "));
  }
  for (const std::string& text : run.report.unchecked) LogWarning("verify: {}", text);
  LogInfo("{} layers were verified, {} of them damaged", todo.size(), run.report.damage.size());
}

Status Verification::Forget(const std::string& layer) {
  {
    std::lock_guard lock(mutex_);
    if (pending_.erase(layer) == 0) return {};
  }
  return database_.Delete(store::Kind::kIntent, std::string(kUnverifiedPrefix) + layer, store::Durability::kAtomic);
}

}  // namespace davit::engine
