#include "image/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "image/image_record.h"
#include "oci/image_spec.h"
#include "store/content.h"
#include "store/database.h"
#include "store/layers.h"

namespace davit::image {
namespace {

using Records = std::vector<ImageRecord>;

std::string FullId(std::string_view text) {
  return text.starts_with("sha256:") ? std::string(text) : "sha256:" + std::string(text);
}

const ImageRecord* FindById(const Records& records, std::string_view id) {
  auto it = std::lower_bound(records.begin(), records.end(), id,
                             [](const ImageRecord& r, std::string_view want) { return r.id < want; });
  return it != records.end() && it->id == id ? &*it : nullptr;
}

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

constexpr size_t kMaxVerdicts = 32;

// Behind the ones that are there: what came first is newer, and is what stays of two under one name.
void AddVerdict(std::vector<Verdict>& verdicts, const Verdict& verdict) {
  const bool named =
      std::any_of(verdicts.begin(), verdicts.end(), [&](const Verdict& other) { return other.name == verdict.name; });
  if (!named && verdicts.size() < kMaxVerdicts) verdicts.push_back(verdict);
}

void AddSorted(std::vector<std::string>& list, const std::string& item) {
  auto it = std::lower_bound(list.begin(), list.end(), item);
  if (it == list.end() || *it != item) list.insert(it, item);
}

const ImageRecord* FindByName(const Records& records, const Reference& reference) {
  // With tag and digest both, the digest decides: that is what was asked for to the byte.
  const std::string name = reference.digest().empty() ? reference.TaggedName() : reference.DigestedName();
  for (const ImageRecord& record : records) {
    if (Contains(reference.digest().empty() ? record.repo_tags : record.repo_digests, name)) return &record;
  }
  return nullptr;
}

Result<const ImageRecord*> FindByPrefix(const Records& records, std::string_view text) {
  const std::string prefix = FullId(text);
  const ImageRecord* found = nullptr;
  size_t count = 0;
  for (const ImageRecord& record : records) {
    if (!record.id.starts_with(prefix)) continue;
    found = &record;
    ++count;
  }
  if (count > 1) return InvalidArgument(fmt::format("\"{}\" is the beginning of {} image ids", Printable(text), count));
  return found;
}

// nullptr: no such image.
Result<const ImageRecord*> Lookup(const Records& records, std::string_view text, const ShortNames& names) {
  if (IsImageId(text)) {
    if (const ImageRecord* found = FindById(records, FullId(text))) return found;
    return static_cast<const ImageRecord*>(nullptr);
  }
  Result<std::vector<Reference>> meanings = names.Candidates(text);
  for (size_t i = 0; meanings.ok() && i < meanings->size(); ++i) {
    if (const ImageRecord* found = FindByName(records, (*meanings)[i])) return found;
  }
  if (IsImageIdPrefix(text)) return FindByPrefix(records, text);
  if (!meanings.ok()) return meanings.status();
  return static_cast<const ImageRecord*>(nullptr);
}

}  // namespace

// Counts of the holds. The mutex is the writers': a hold waits for a removal and never meets half of one.
struct LayerHold::Ledger {
  std::mutex mutex;
  std::map<std::string, size_t> counts;
};

void LayerHold::Release() {
  if (!ledger_) return;
  std::lock_guard lock(ledger_->mutex);
  for (const std::string& digest : digests_) {
    auto it = ledger_->counts.find(digest);
    if (it != ledger_->counts.end() && --it->second == 0) ledger_->counts.erase(it);
  }
  ledger_.reset();
}

LayerHold::~LayerHold() { Release(); }

LayerHold& LayerHold::operator=(LayerHold&& other) noexcept {
  if (this != &other) {
    Release();
    ledger_ = std::move(other.ledger_);
    digests_ = std::move(other.digests_);
  }
  return *this;
}

Images::Images(store::Database& database, store::Content& content, store::LayerDriver& layers, LayerInUse in_use,
               ShortNames names)
    : database_(database),
      content_(content),
      layers_(layers),
      in_use_(std::move(in_use)),
      names_(std::move(names)),
      snapshot_(std::make_shared<const Records>()),
      ledger_(std::make_shared<LayerHold::Ledger>()) {}

Images::~Images() = default;

Status Images::Recover() {
  std::lock_guard lock(writers_);
  ASSIGN_OR_RETURN(std::vector<store::Record> stored, database_.LoadAll(store::Kind::kImage));
  Records records;
  std::vector<std::string> dropped;
  for (const store::Record& item : stored) {
    auto drop = [&](std::string_view why) {
      LogWarning("image {} is dropped: {}; pull it again", Printable(item.id, 80), why);
      dropped.push_back(item.id);
    };
    Result<ImageRecord> record = DecodeImageRecord(item.body);
    // Written by a newer davit: not ours to judge or to delete, nor are the layers that it may name.
    if (record.code() == StatusCode::kUnimplemented) {
      LogError("image {}: {}: left alone", Printable(item.id, 80), record.status().message());
      foreign_.push_back(item.body);
      continue;
    }
    if (!record.ok() || record->id != item.id) {
      drop(record.ok() ? "its record has another id" : record.status().message());
      continue;
    }
    auto lost = std::find_if(record->layers.begin(), record->layers.end(),
                             [&](const std::string& layer) { return !layers_.Has(*oci::Digest::Parse(layer)); });
    if (lost != record->layers.end()) {
      drop(fmt::format("its layer {} is gone", *lost));
      continue;
    }
    Result<std::string> config = content_.Get(*oci::Digest::Parse(record->ConfigDigest()));
    Result<std::string> manifest = content_.Get(*oci::Digest::Parse(record->manifest_digest));
    if (!config.ok() || !manifest.ok()) {
      drop(config.ok() ? manifest.status().message() : config.status().message());
      continue;
    }
    records.push_back(std::move(*record));
  }
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  store::Batch batch;
  for (const std::string& id : dropped) batch.Delete(store::Kind::kImage, id);
  if (!batch.empty()) RETURN_IF_ERROR(database_.Apply(batch, store::Durability::kDurable));
  {
    std::lock_guard pointer(snapshot_lock_);
    snapshot_ = std::make_shared<const Records>(std::move(records));
    configs_.clear();
  }
  SweepLayers(nullptr);
  SweepContent(nullptr);
  return {};
}

ImageList Images::List() const {
  std::lock_guard lock(snapshot_lock_);
  return snapshot_;
}

Result<ImageRecord> Images::Resolve(std::string_view text) const {
  ImageList list = List();
  ASSIGN_OR_RETURN(const ImageRecord* found, Lookup(*list, text, names_));
  if (found == nullptr) return NotFound(fmt::format("no image \"{}\"", Printable(text, 300)));
  return *found;
}

Result<ImageRecord> Images::Find(std::string_view id) const {
  if (!IsImageId(id)) return InvalidArgument(fmt::format("\"{}\" is no image id", Printable(id)));
  return Resolve(id);
}

Result<std::shared_ptr<const oci::ImageConfig>> Images::Config(const ImageRecord& record) const {
  if (!record.artifact_type.empty()) return std::make_shared<const oci::ImageConfig>();
  {
    std::lock_guard lock(snapshot_lock_);
    auto it = configs_.find(record.id);
    if (it != configs_.end()) return it->second;
  }
  ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(record.ConfigDigest()));
  ASSIGN_OR_RETURN_WITH(std::string text, content_.Get(digest), "image config");
  ASSIGN_OR_RETURN(oci::ImageConfig parsed, oci::ParseImageConfig(text));
  auto config = std::make_shared<const oci::ImageConfig>(std::move(parsed));
  std::lock_guard lock(snapshot_lock_);
  if (FindById(*snapshot_, record.id) != nullptr) configs_[record.id] = config;
  return config;
}

// Record first, then the snapshot: what readers see is on the disk.
Status Images::Write(const std::vector<ImageRecord>& changed, const std::vector<std::string>& removed) {
  store::Batch batch;
  for (const ImageRecord& record : changed) batch.Put(store::Kind::kImage, record.id, EncodeImageRecord(record));
  for (const std::string& id : removed) batch.Delete(store::Kind::kImage, id);
  RETURN_IF_ERROR(database_.Apply(batch, store::Durability::kDurable));
  Records next = *List();
  for (const std::string& id : removed) std::erase_if(next, [&](const ImageRecord& r) { return r.id == id; });
  for (const ImageRecord& record : changed) {
    auto it =
        std::lower_bound(next.begin(), next.end(), record, [](const auto& a, const auto& b) { return a.id < b.id; });
    if (it != next.end() && it->id == record.id) {
      *it = record;
    } else {
      next.insert(it, record);
    }
  }
  std::lock_guard lock(snapshot_lock_);
  snapshot_ = std::make_shared<const Records>(std::move(next));
  for (const std::string& id : removed) configs_.erase(id);
  return {};
}

Status Images::SetVerdict(std::string_view id, Verdict verdict) {
  std::lock_guard lock(writers_);
  ASSIGN_OR_RETURN(ImageRecord record, Find(id));
  std::vector<Verdict> verdicts = {std::move(verdict)};
  for (const Verdict& known : record.verdicts) AddVerdict(verdicts, known);
  record.verdicts = std::move(verdicts);
  return Write({record}, {});
}

Result<ImageRecord> Images::Commit(ImageRecord record) {
  std::lock_guard lock(writers_);
  ImageList list = List();
  for (const std::string& layer : record.layers) {
    ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(layer));
    if (!layers_.Has(digest))
      return FailedPrecondition(fmt::format("commit image {}: layer {} is not there", record.id, layer));
  }
  std::vector<ImageRecord> changed;
  for (const ImageRecord& other : *list) {
    if (other.id == record.id) continue;
    ImageRecord without = other;
    std::erase_if(without.repo_tags, [&](const std::string& tag) { return Contains(record.repo_tags, tag); });
    if (without.repo_tags.size() != other.repo_tags.size()) changed.push_back(std::move(without));
  }
  if (const ImageRecord* known = FindById(*list, record.id)) {
    for (const std::string& tag : known->repo_tags) AddSorted(record.repo_tags, tag);
    for (const std::string& digest : known->repo_digests) AddSorted(record.repo_digests, digest);
    record.pinned = record.pinned || known->pinned;
    for (const Verdict& verdict : known->verdicts) AddVerdict(record.verdicts, verdict);
  }
  std::sort(record.repo_tags.begin(), record.repo_tags.end());
  std::sort(record.repo_digests.begin(), record.repo_digests.end());
  changed.push_back(record);
  RETURN_IF_ERROR(Write(changed, {}));
  return record;
}

Result<ImageRecord> Images::Tag(std::string_view source, const Reference& target) {
  if (target.tag().empty()) return InvalidArgument(fmt::format("\"{}\" has no tag", target.String()));
  ASSIGN_OR_RETURN(ImageRecord record, Resolve(source));
  record.repo_tags = {target.TaggedName()};
  record.repo_digests.clear();
  return Commit(std::move(record));
}

Result<ImageRecord> Images::SetPinned(std::string_view source, bool pinned) {
  std::lock_guard lock(writers_);
  ASSIGN_OR_RETURN(ImageRecord record, Resolve(source));
  if (record.pinned == pinned) return record;
  record.pinned = pinned;
  RETURN_IF_ERROR(Write({record}, {}));
  return record;
}

Status Images::RemoveRecord(const ImageRecord& record) {
  RETURN_IF_ERROR(Write({}, {record.id}));
  SweepLayers(&record.layers);
  std::vector<std::string> blobs = {record.ConfigDigest(), record.manifest_digest};
  for (const Verdict& verdict : record.verdicts) blobs.push_back(verdict.signatures);
  SweepContent(&blobs);
  return {};
}

Status Images::Remove(std::string_view text) {
  std::lock_guard lock(writers_);
  Result<ImageRecord> record = Resolve(text);
  if (record.code() == StatusCode::kNotFound) return {};
  if (!record.ok()) return record.status();
  return RemoveRecord(*record);
}

Status Images::Untag(std::string_view text) {
  ASSIGN_OR_RETURN(const std::vector<Reference> meanings, names_.Candidates(text));
  std::lock_guard lock(writers_);
  ASSIGN_OR_RETURN(ImageRecord record, Resolve(text));
  const size_t before = record.repo_tags.size() + record.repo_digests.size();
  Reference reference;
  for (const Reference& meaning : meanings) {
    reference = meaning;
    const std::string name = reference.digest().empty() ? reference.TaggedName() : reference.DigestedName();
    if (std::erase(record.repo_tags, name) + std::erase(record.repo_digests, name) > 0) break;
  }
  if (record.repo_tags.size() + record.repo_digests.size() == before)
    return NotFound(fmt::format("no image name \"{}\"", Printable(text, 300)));
  // A digest that only came along with the tag does not keep the image.
  const std::string same_repository = reference.Name() + "@";
  bool named = !record.repo_tags.empty() ||
               std::any_of(record.repo_digests.begin(), record.repo_digests.end(),
                           [&](const std::string& digest) { return !digest.starts_with(same_repository); });
  if (!named) return RemoveRecord(record);
  return Write({record}, {});
}

Status Images::Unname(const std::string& id) {
  std::lock_guard lock(writers_);
  ASSIGN_OR_RETURN(ImageRecord record, Find(id));
  record.repo_tags.clear();
  record.repo_digests.clear();
  return Write({record}, {});
}

LayerHold Images::Hold(const std::vector<std::string>& digests) {
  LayerHold hold;
  std::lock_guard writers(writers_);
  std::lock_guard lock(ledger_->mutex);
  for (const std::string& digest : digests) ++ledger_->counts[digest];
  hold.ledger_ = ledger_;
  hold.digests_ = digests;
  return hold;
}

Result<Images::SetAside> Images::SetAsideLayer(const oci::Digest& layer, const std::string& why) {
  const std::string name = layer.ToString();
  std::lock_guard lock(writers_);
  SetAside out;
  {
    std::lock_guard ledger(ledger_->mutex);
    out.in_use = ledger_->counts.count(name) != 0 || (in_use_ && in_use_(name)) || NamedByForeign(name);
  }
  if (out.in_use) {
    RETURN_IF_ERROR(layers_.MarkDamaged(layer, why));
    return out;
  }
  std::vector<std::string> ids;
  for (const ImageRecord& record : *List()) {
    if (!Contains(record.layers, name)) continue;
    out.forgotten.push_back(record);
    ids.push_back(record.id);
    LogError("image {} is dropped: its layer {} is damaged; pull it again", record.id, name);
  }
  // The images first: killed in between, the layer is one that nobody names.
  if (!ids.empty()) RETURN_IF_ERROR(Write({}, ids));
  FaultPoint("image.set_aside.forgotten");
  ASSIGN_OR_RETURN(out.quarantine, layers_.SetAside(layer));
  return out;
}

Status Images::Forget(const ImageRecord& record) {
  std::lock_guard lock(writers_);
  if (FindById(*List(), record.id) == nullptr) return {};
  LogError("image {} is dropped: its manifest or config is damaged; pull it again", record.id);
  RETURN_IF_ERROR(Write({}, {record.id}));
  const std::vector<std::string> blobs = {record.id, record.manifest_digest};
  SweepContent(&blobs);
  return {};
}

Status Images::CollectLayers() {
  std::lock_guard lock(writers_);
  SweepLayers(nullptr);
  return {};
}

bool Images::NamedByForeign(const std::string& digest) const {
  return std::any_of(foreign_.begin(), foreign_.end(),
                     [&](const std::string& body) { return body.find(digest) != std::string::npos; });
}

// `only`: candidates; null: every layer there is. A layer that cannot be removed now is for the next sweep.
void Images::SweepLayers(const std::vector<std::string>* only) {
  std::set<std::string> keep;
  for (const ImageRecord& record : *List()) keep.insert(record.layers.begin(), record.layers.end());
  {
    std::lock_guard lock(ledger_->mutex);
    for (const auto& [digest, count] : ledger_->counts) keep.insert(digest);
  }
  std::vector<std::string> candidates;
  if (only != nullptr) {
    candidates = *only;
  } else {
    for (const store::Layer& layer : layers_.List()) candidates.push_back(layer.diff_id.ToString());
  }
  for (const std::string& layer : candidates) {
    if (keep.count(layer) > 0 || NamedByForeign(layer) || (in_use_ && in_use_(layer))) continue;
    Result<oci::Digest> digest = oci::Digest::Parse(layer);
    if (!digest.ok()) continue;
    if (Status status = layers_.Remove(*digest); !status.ok())
      LogWarning("remove layer {}: {}", layer, status.message());
  }
}

void Images::SweepContent(const std::vector<std::string>* only) {
  std::set<std::string> keep;
  for (const ImageRecord& record : *List()) {
    keep.insert({record.ConfigDigest(), record.manifest_digest});
    for (const Verdict& verdict : record.verdicts) keep.insert(verdict.signatures);
  }
  {
    std::lock_guard lock(ledger_->mutex);
    for (const auto& [digest, count] : ledger_->counts) keep.insert(digest);
  }
  std::vector<oci::Digest> candidates;
  if (only != nullptr) {
    for (const std::string& text : *only) {
      Result<oci::Digest> digest = oci::Digest::Parse(text);
      if (digest.ok()) candidates.push_back(*digest);
    }
  } else {
    Result<std::vector<oci::Digest>> all = content_.List();
    if (!all.ok()) {
      LogWarning("list content: {}", all.status().message());
      return;
    }
    candidates = std::move(*all);
  }
  for (const oci::Digest& digest : candidates) {
    if (keep.count(digest.ToString()) > 0 || NamedByForeign(digest.ToString())) continue;
    if (Status status = content_.Remove(digest); !status.ok())
      LogWarning("remove blob {}: {}", digest.ToString(), status.message());
  }
}

}  // namespace davit::image
