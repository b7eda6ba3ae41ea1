#include "store/layers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "oci/json.h"
#include "store/directory.h"
#include "store/shared_sync.h"
#include "store/tree_usage.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

constexpr uint64_t kRecordVersion = 2;
constexpr uint64_t kDirectoryVersion = 1;  // of layers that are directories: earlier versions of davitd know them
constexpr std::string_view kStagingPrefix = ".staging-";

// Of a walk at the commit, which has just seen every inode: some microseconds each.
constexpr size_t kMaxMeasured = 10'000'000;

// What the store keeps of a layer.
struct Kept {
  LayerInfo info;
  DiskUsage disk;  // blocks and inodes, where `info` has what the archive said
  std::optional<uint64_t> content_bytes;
};

boost::json::object WriteFile(const LayerFile& file) {
  boost::json::object out;
  out["path"] = file.path;
  out["offset"] = file.offset;
  out["size"] = file.size;
  out["inode"] = file.inode;
  out["fileSize"] = file.file_size;
  out["modified"] = file.modified;
  out["changed"] = file.changed;
  return out;
}

Result<LayerFile> ReadFile(const oci::JsonNode& node) {
  LayerFile file;
  ASSIGN_OR_RETURN(file.path, node.Key("path").String());
  ASSIGN_OR_RETURN(file.offset, node.Key("offset").Uint64());
  ASSIGN_OR_RETURN(file.size, node.Key("size").Uint64());
  ASSIGN_OR_RETURN(file.inode, node.Key("inode").Uint64());
  ASSIGN_OR_RETURN(file.file_size, node.Key("fileSize").Uint64());
  ASSIGN_OR_RETURN(file.modified, node.Key("modified").Int64());
  ASSIGN_OR_RETURN(file.changed, node.Key("changed").Int64());
  return file;
}

std::string WriteRecord(const Kept& kept) {
  boost::json::object record;
  record["version"] = kept.info.file ? kRecordVersion : kDirectoryVersion;
  record["size"] = kept.info.size;
  record["entries"] = kept.info.entries;
  record["diskBytes"] = kept.disk.bytes;
  record["diskInodes"] = kept.disk.inodes;
  if (kept.content_bytes) record["contentBytes"] = *kept.content_bytes;
  if (kept.info.file) record["file"] = WriteFile(*kept.info.file);
  return oci::WriteJson(record);
}

Result<Kept> ReadRecord(const std::string& body) {
  ASSIGN_OR_RETURN(boost::json::value document, oci::ParseJson(body));
  oci::JsonNode root(document, "layer record");
  ASSIGN_OR_RETURN(uint64_t version, root.Key("version").Uint64());
  if (version > kRecordVersion) return Unimplemented(fmt::format("layer record has version {}", version));
  Kept kept;
  ASSIGN_OR_RETURN(kept.info.size, root.Key("size").Uint64());
  ASSIGN_OR_RETURN(kept.info.entries, root.Key("entries").Uint64());
  kept.disk = {kept.info.size, kept.info.entries};  // records of earlier versions have nothing better
  if (document.as_object().contains("diskBytes")) {
    ASSIGN_OR_RETURN(kept.disk.bytes, root.Key("diskBytes").Uint64());
    ASSIGN_OR_RETURN(kept.disk.inodes, root.Key("diskInodes").Uint64());
  }
  if (document.as_object().contains("contentBytes")) {
    ASSIGN_OR_RETURN(kept.content_bytes.emplace(), root.Key("contentBytes").Uint64());
  }
  if (root.Key("file").present()) {
    ASSIGN_OR_RETURN(kept.info.file, ReadFile(root.Key("file")));
  }
  return kept;
}

Status SyncFilesystem(int fd, const std::string& path) {
  if (::syncfs(fd) == 0) return {};
  return ErrnoError(errno, fmt::format("sync the filesystem of {}", path));
}

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

int64_t Nanos(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

// Whether the file is there, and the one that was read.
bool IsSameFile(const std::string& path, const LayerFile& file) {
  const sys::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  LayerFile now = file;
  if (!fd.valid() || !Identify(fd.get(), now).ok()) return false;
  return file.path.empty() || now == file;
}

// On the directory above a lowerdir, out of the containers' sight.
constexpr const char* kRootAttribute = "trusted.davit.root";
constexpr std::string_view kRootUnnamed = "unnamed";

// Intents with it name damaged layers that are in use.
constexpr std::string_view kDamagedPrefix = "damaged-layer/";

// A name that Commit gives to a layer, whichever hash its diff ID is of.
bool IsLayerName(std::string_view name) {
  return oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, name).ok() ||
         oci::Digest::ParseHex(oci::DigestAlgorithm::kSha512, name).ok();
}

}  // namespace

Status Identify(int fd, LayerFile& file) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoError(errno, "stat layer file");
  if (!S_ISREG(info.st_mode)) return FailedPrecondition("it is no regular file");
  file.inode = info.st_ino;
  file.file_size = static_cast<uint64_t>(info.st_size);
  file.modified = Nanos(info.st_mtim);
  file.changed = Nanos(info.st_ctim);
  return {};
}

const std::string& RootLayer(const std::vector<std::string>& lowerdirs) {
  for (const std::string& lower : lowerdirs) {
    char value[kRootUnnamed.size()];
    const ssize_t size = ::getxattr((lower + "/..").c_str(), kRootAttribute, value, sizeof value);
    if (size < 0 || std::string_view(value, static_cast<size_t>(size)) != kRootUnnamed) return lower;
  }
  return lowerdirs.back();
}

LayerStaging::LayerStaging(oci::Digest diff_id, std::string dir, std::function<void(const std::string&)> discard)
    : diff_id_(diff_id), dir_(std::move(dir)), discard_(std::move(discard)) {}

LayerStaging::LayerStaging(LayerStaging&& other) noexcept
    : diff_id_(other.diff_id_), dir_(std::exchange(other.dir_, {})), discard_(std::move(other.discard_)) {}

LayerStaging& LayerStaging::operator=(LayerStaging&& other) noexcept {
  std::swap(diff_id_, other.diff_id_);
  std::swap(dir_, other.dir_);
  std::swap(discard_, other.discard_);
  return *this;
}

LayerStaging::~LayerStaging() {
  if (!dir_.empty() && discard_) discard_(dir_);
}

std::string LayerStaging::Release() { return std::exchange(dir_, {}); }

Result<std::string> LayerDriver::Path(const oci::Digest& diff_id) const {
  ASSIGN_OR_RETURN(Layer layer, Find(diff_id));
  return layer.path;
}

struct DirectoryLayers::State {
  State(Database& database_in, Trash& trash_in) : database(database_in), trash(trash_in) {}

  std::string root;
  std::string dir;  // <root>/layers
  sys::UniqueFd dir_fd;
  Database& database;
  Trash& trash;
  std::optional<SharedSync> sync;

  // Renames and records change together under this one; held over a rename and a database commit, but
  // never over a sync of data.
  std::mutex change;
  // What readers see; held for memory only.
  mutable std::mutex mutex;
  std::map<oci::Digest, Kept> layers;
  std::map<oci::Digest, std::string> damaged;  // in use, and why
  DiskUsage usage;
  std::set<oci::Digest> foreign;  // recorded by a later version; set by Recover, left alone with their directories

  std::string DirOf(const oci::Digest& diff_id) const { return dir + "/" + diff_id.hex(); }
  std::string PathOf(const oci::Digest& diff_id) const { return DirOf(diff_id) + "/fs"; }
  std::string PathOf(const oci::Digest& diff_id, const LayerInfo& info) const {
    return DirOf(diff_id) + (info.file ? "/file" : "/fs");
  }
  // Looks at the disk.
  bool IsThere(const oci::Digest& diff_id, const LayerInfo& info) const {
    const Layer layer{diff_id, info, PathOf(diff_id, info)};
    return IsDirectory(layer.path) && (!info.file || IsSameFile(layer.FilePath(), *info.file));
  }

  void Insert(const oci::Digest& diff_id, const Kept& kept) {
    std::lock_guard guard(mutex);
    if (!layers.emplace(diff_id, kept).second) return;
    usage.bytes += kept.disk.bytes;
    usage.inodes += kept.disk.inodes;
  }

  void Erase(const oci::Digest& diff_id) {
    std::lock_guard guard(mutex);
    auto found = layers.find(diff_id);
    if (found == layers.end()) return;
    usage.bytes -= found->second.disk.bytes;
    usage.inodes -= found->second.disk.inodes;
    layers.erase(found);
    damaged.erase(diff_id);
  }

  // The record, and the mark with it.
  Status DeleteRecord(const oci::Digest& diff_id) {
    Batch batch;
    batch.Delete(Kind::kLayer, diff_id.ToString());
    batch.Delete(Kind::kIntent, std::string(kDamagedPrefix) + diff_id.ToString());
    return database.Apply(batch, Durability::kDurable);
  }

  // With `change` held.
  Result<std::string> SetAside(const oci::Digest& diff_id) {
    if (!Has(diff_id)) return NotFound(fmt::format("layer {} is not in the store", diff_id.ToString()));
    const std::string target = fmt::format("{}/quarantine/{}", root, MintId().substr(0, 16));
    RETURN_IF_ERROR(sys::MakeDirectories(target, 0700));
    RETURN_IF_ERROR(DeleteRecord(diff_id));
    FaultPoint("store.layer.set_aside.unrecorded");
    Erase(diff_id);
    const std::string path = target + "/" + std::string(diff_id.hex());
    if (::rename(DirOf(diff_id).c_str(), path.c_str()) != 0 && errno != ENOENT) {
      const Status failed = ErrnoError(errno, fmt::format("move {} to {}", DirOf(diff_id), path));
      ::rmdir(target.c_str());
      return failed;
    }
    LogError("layer {} is damaged and was moved to {}", diff_id.ToString(), path);
    return path;
  }

  Status LoadMarks() {
    ASSIGN_OR_RETURN(std::vector<Record> intents, database.LoadAll(Kind::kIntent));
    for (const Record& intent : intents) {
      if (!intent.id.starts_with(kDamagedPrefix)) continue;
      Result<oci::Digest> diff_id = oci::Digest::Parse(intent.id.substr(kDamagedPrefix.size()));
      if (diff_id.ok() && Has(*diff_id)) {
        std::lock_guard guard(mutex);
        damaged[*diff_id] = intent.body;
      } else {
        RETURN_IF_ERROR(database.Delete(Kind::kIntent, intent.id, Durability::kAtomic));
      }
    }
    return {};
  }

  bool Has(const oci::Digest& diff_id) const {
    std::lock_guard guard(mutex);
    return layers.count(diff_id) != 0;
  }

  // Rename, then record: death in between leaves a directory that no record names.
  Status Publish(const std::string& staged, const oci::Digest& diff_id, const Kept& kept) {
    std::string target = DirOf(diff_id);
    if (foreign.count(diff_id) != 0) {
      return FailedPrecondition(
          fmt::format("layer {} was stored by a later version of davit, which can remove it", diff_id.ToString()));
    }
    // Left by a commit whose record could not be written; nobody can be using it.
    RETURN_IF_ERROR(trash.Discard(target));
    if (::rename(staged.c_str(), target.c_str()) != 0) {
      return ErrnoError(errno, fmt::format("rename {} to {}", staged, target));
    }
    FaultPoint("store.layer.commit.renamed");
    Status recorded;
    // The record must not reach the disk before the name that it vouches for.
    if (::fsync(dir_fd.get()) != 0) recorded = ErrnoError(errno, fmt::format("fsync {}", dir));
    if (recorded.ok()) {
      recorded = database.Put(Kind::kLayer, diff_id.ToString(), WriteRecord(kept), Durability::kDurable);
    }
    if (!recorded.ok()) {
      Status undo = database.Delete(Kind::kLayer, diff_id.ToString(), Durability::kAtomic);
      if (undo.ok()) undo = trash.Discard(target);
      return undo.ok() ? recorded : recorded.WithUndoError(undo);
    }
    FaultPoint("store.layer.commit.recorded");
    Insert(diff_id, kept);
    return {};
  }

  // Drops the record of a layer that is not whole.
  Status DropRecord(const std::string& id, const Status& why) {
    LogWarning("layer {}: {}: dropped, to be fetched again", Printable(id), why.message());
    return database.Delete(Kind::kLayer, id, Durability::kDurable);
  }

  // A damaged record says less than the directory, which got its name when it was whole, and which a container may
  // be running from: the record is made again.
  Status Describe(const oci::Digest& diff_id, const Status& why) {
    ASSIGN_OR_RETURN(TreeUsage tree, MeasureTree(DirOf(diff_id), kMaxMeasured));
    Kept kept{{tree.disk.bytes, tree.disk.inodes}, tree.disk, std::nullopt};
    LogWarning("layer {}: its record cannot be read ({}) and was made again", diff_id.ToString(), why.message());
    RETURN_IF_ERROR(database.Put(Kind::kLayer, diff_id.ToString(), WriteRecord(kept), Durability::kDurable));
    Insert(diff_id, kept);
    return {};
  }

  Status LoadRecords(LayerRecovery& report) {
    ASSIGN_OR_RETURN(std::vector<Record> records, database.LoadAll(Kind::kLayer));
    for (const Record& record : records) {
      Result<oci::Digest> diff_id = oci::Digest::Parse(record.id);
      Result<Kept> info = diff_id.ok() ? ReadRecord(record.body) : Result<Kept>(diff_id.status());
      if (info.ok() && !IsDirectory(PathOf(*diff_id, info->info))) {
        info = NotFound(fmt::format("{} is not there", PathOf(*diff_id)));
      }
      if (info.ok()) {
        Insert(*diff_id, *info);
        continue;
      }
      if (info.code() == StatusCode::kUnimplemented && diff_id.ok()) {
        LogError("layer {}: {}: left alone", record.id, info.status().message());
        foreign.insert(*diff_id);
        continue;
      }
      if (diff_id.ok() && IsDirectory(PathOf(*diff_id))) {
        RETURN_IF_ERROR(Describe(*diff_id, info.status()));
        continue;
      }
      RETURN_IF_ERROR(DropRecord(record.id, info.status()));
      FaultPoint("store.layer.recover.dropped");
      if (diff_id.ok()) report.lost.push_back(*diff_id);
    }
    return {};
  }

  Status DiscardUnrecorded(LayerRecovery& report) {
    std::set<std::string> known;
    for (const auto& [diff_id, info] : layers) known.insert(diff_id.hex());
    for (const oci::Digest& diff_id : foreign) known.insert(diff_id.hex());
    std::vector<std::string> names;
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, dir));
    for (;;) {
      ASSIGN_OR_RETURN(std::optional<std::string> name, directory.Next());
      if (!name) break;
      if (known.count(*name) == 0) names.push_back(std::move(*name));
    }
    for (const std::string& name : names) {
      bool staging = name.compare(0, kStagingPrefix.size(), kStagingPrefix) == 0;
      if (!staging && !IsLayerName(name)) {
        LogWarning("{}/{} is not the store's: left alone", dir, Printable(name));
        continue;
      }
      RETURN_IF_ERROR(trash.Discard(dir + "/" + name));
      FaultPoint("store.layer.recover.discarded");
      ++(staging ? report.staging_discarded : report.unrecorded_discarded);
    }
    return {};
  }
};

DirectoryLayers::DirectoryLayers(std::unique_ptr<State> state) : state_(std::move(state)) {}
DirectoryLayers::~DirectoryLayers() = default;

Result<std::unique_ptr<DirectoryLayers>> DirectoryLayers::Open(const std::string& root, Database& database,
                                                               Trash& trash) {
  auto state = std::make_unique<State>(database, trash);
  state->root = root;
  state->dir = root + "/layers";
  RETURN_IF_ERROR(sys::MakeDirectories(root, 0700));
  RETURN_IF_ERROR(sys::MakeDirectories(state->dir, 0700));
  ASSIGN_OR_RETURN(state->dir_fd, sys::Open(state->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  state->sync.emplace([fd = state->dir_fd.get(), dir = state->dir] { return SyncFilesystem(fd, dir); });
  return std::unique_ptr<DirectoryLayers>(new DirectoryLayers(std::move(state)));
}

Result<LayerRecovery> DirectoryLayers::Recover() {
  std::lock_guard guard(state_->change);
  LayerRecovery report;
  RETURN_IF_ERROR(state_->LoadRecords(report).Annotate("recover layers"));
  RETURN_IF_ERROR(state_->LoadMarks().Annotate("recover layers"));
  RETURN_IF_ERROR(state_->DiscardUnrecorded(report).Annotate("recover layers"));
  state_->trash.Resume();
  return report;
}

Result<LayerStaging> DirectoryLayers::Begin(const oci::Digest& diff_id) {
  if (diff_id.empty()) return InvalidArgument("begin layer: empty diff id");
  std::string dir = fmt::format("{}/{}{}", state_->dir, kStagingPrefix, MintId().substr(0, 16));
  if (::mkdir(dir.c_str(), 0700) != 0) return ErrnoError(errno, fmt::format("create {}", dir));
  LayerStaging staging(diff_id, dir, [&trash = state_->trash](const std::string& path) {
    Status discarded = trash.Discard(path);
    // Recover finds it by its name.
    if (!discarded.ok()) LogWarning("discard staged layer: {}", discarded.message());
  });
  FaultPoint("store.layer.begin.created");
  std::string fs = staging.fs();
  // chmod, because the umask took bits from mkdir's mode, and this becomes the container's "/".
  if (::mkdir(fs.c_str(), 0755) != 0 || ::chmod(fs.c_str(), 0755) != 0) {
    return ErrnoError(errno, fmt::format("create {}", fs));
  }
  return staging;
}

Status DirectoryLayers::Commit(LayerStaging staging, const LayerInfo& info) {
  oci::Digest diff_id = staging.diff_id();
  std::string intent = fmt::format("commit layer {}", diff_id.ToString());
  if (staging.dir().empty()) return FailedPrecondition(intent + ": the staging area was given up");
  if (state_->Has(diff_id)) return {};
  // The other name, and no "fs" beside it: whoever takes the layer for a directory finds none.
  if (info.file && ::rename(staging.fs().c_str(), (staging.dir() + "/file").c_str()) != 0) {
    return ErrnoError(errno, fmt::format("{}: rename {}", intent, staging.fs()));
  }
  RETURN_IF_ERROR(state_->sync->Wait().Annotate(intent));
  FaultPoint("store.layer.commit.synced");
  // Once, here, so that nobody who asks for the store's usage has to walk it.
  Kept kept{info, {info.size, info.entries}, std::nullopt};
  if (Result<TreeUsage> tree = MeasureTree(staging.dir(), kMaxMeasured); tree.ok()) {
    kept.disk = tree->disk;
    if (!tree->truncated) kept.content_bytes = tree->content_bytes;
  }
  if (!info.root_named &&
      ::setxattr(staging.dir().c_str(), kRootAttribute, kRootUnnamed.data(), kRootUnnamed.size(), 0) != 0) {
    return ErrnoError(errno, fmt::format("{}: set {} of {}", intent, kRootAttribute, staging.dir()));
  }

  std::lock_guard guard(state_->change);
  if (state_->Has(diff_id)) return {};  // another pull was faster: `staging` discards itself
  Status published = state_->Publish(staging.dir(), diff_id, kept);
  if (!published.ok()) return published.Annotate(intent);
  (void)staging.Release();
  return {};
}

Status DirectoryLayers::Abandon(LayerStaging staging) {
  std::string dir = staging.Release();
  return dir.empty() ? Status() : state_->trash.Discard(dir);
}

bool DirectoryLayers::Check(const oci::Digest& diff_id) {
  auto is_there = [&] {
    Result<Layer> layer = Find(diff_id);
    return layer.ok() && state_->IsThere(diff_id, layer->info);
  };
  if (!state_->Has(diff_id)) return false;
  if (Damaged(diff_id)) {
    std::lock_guard guard(state_->change);
    if (!Damaged(diff_id)) return state_->Has(diff_id);
    Result<std::string> aside = state_->SetAside(diff_id);
    if (!aside.ok()) LogWarning("layer {}: {}", diff_id.ToString(), aside.status().message());
    return state_->Has(diff_id);
  }
  if (is_there()) return true;
  std::lock_guard guard(state_->change);
  if (is_there()) return true;  // committed meanwhile
  LogError("layer {} is gone from {}, or its file has changed: it is fetched again", diff_id.ToString(), state_->dir);
  if (Status dropped = state_->DeleteRecord(diff_id); !dropped.ok()) {
    LogWarning("layer {}: {}", diff_id.ToString(), dropped.message());
  }
  state_->Erase(diff_id);
  return false;
}

bool DirectoryLayers::Has(const oci::Digest& diff_id) const { return state_->Has(diff_id); }

Result<Layer> DirectoryLayers::Find(const oci::Digest& diff_id) const {
  std::lock_guard guard(state_->mutex);
  auto found = state_->layers.find(diff_id);
  if (found == state_->layers.end()) return NotFound(fmt::format("layer {} is not in the store", diff_id.ToString()));
  return Layer{diff_id, found->second.info, state_->PathOf(diff_id, found->second.info), found->second.disk,
               found->second.content_bytes};
}

std::vector<Layer> DirectoryLayers::List() const {
  std::lock_guard guard(state_->mutex);
  std::vector<Layer> layers;
  layers.reserve(state_->layers.size());
  for (const auto& [diff_id, kept] : state_->layers) {
    layers.push_back({diff_id, kept.info, state_->PathOf(diff_id, kept.info), kept.disk, kept.content_bytes});
  }
  return layers;
}

DiskUsage DirectoryLayers::Usage() const {
  std::lock_guard guard(state_->mutex);
  return state_->usage;
}

Status DirectoryLayers::Remove(const oci::Digest& diff_id) {
  if (diff_id.empty()) return InvalidArgument("remove layer: empty diff id");
  std::lock_guard guard(state_->change);
  if (!state_->Has(diff_id)) return {};
  std::string intent = fmt::format("remove layer {}", diff_id.ToString());
  RETURN_IF_ERROR(state_->DeleteRecord(diff_id).Annotate(intent));
  FaultPoint("store.layer.remove.unrecorded");
  state_->Erase(diff_id);
  return state_->trash.Discard(state_->DirOf(diff_id)).Annotate(intent);
}

Status DirectoryLayers::MarkDamaged(const oci::Digest& diff_id, const std::string& why) {
  std::lock_guard guard(state_->change);
  if (!state_->Has(diff_id)) return {};
  RETURN_IF_ERROR(
      state_->database.Put(Kind::kIntent, std::string(kDamagedPrefix) + diff_id.ToString(), why, Durability::kDurable));
  LogError("layer {} is damaged, and containers run from it: {}", diff_id.ToString(), why);
  std::lock_guard memory(state_->mutex);
  state_->damaged[diff_id] = why;
  return {};
}

std::optional<std::string> DirectoryLayers::Damaged(const oci::Digest& diff_id) const {
  std::lock_guard guard(state_->mutex);
  auto found = state_->damaged.find(diff_id);
  return found == state_->damaged.end() ? std::nullopt : std::optional(found->second);
}

Result<std::string> DirectoryLayers::SetAside(const oci::Digest& diff_id) {
  std::lock_guard guard(state_->change);
  return state_->SetAside(diff_id);
}

PauseDeletion DirectoryLayers::Pause() { return PauseDeletion(state_->trash); }

}  // namespace davit::store
