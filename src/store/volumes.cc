#include "store/volumes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "oci/reflect.h"
#include "store/directory.h"
#include "store/tree_usage.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::store {

BOOST_DESCRIBE_STRUCT(VolumeRecord, (), (version, name, driver, labels, options, created_at, anonymous, fresh))

namespace {

constexpr const char* kRecordFile = "/volume.json";
constexpr const char* kData = "/_data";
constexpr size_t kMaxRecordBytes = 1 << 20;
constexpr size_t kMaxLabels = 1000;
constexpr size_t kMaxLabelBytes = 256 << 10;  // all together
constexpr size_t kMaxCounted = 10'000'000;    // entries of a measured volume

Status CheckRequest(const VolumeRecord& request) {
  if (!request.name.empty() && !IsVolumeName(request.name)) {
    return InvalidArgument("volume name \"" + Printable(request.name, 300) +
                           "\" is not of [a-zA-Z0-9][a-zA-Z0-9_.-]*, or is longer than 255");
  }
  if (!request.driver.empty() && request.driver != "local") {
    return InvalidArgument("volume driver \"" + Printable(request.driver) + "\": there is only local");
  }
  size_t bytes = 0;
  for (const auto& [key, value] : request.labels) bytes += key.size() + value.size();
  if (request.labels.size() > kMaxLabels || bytes > kMaxLabelBytes) {
    return InvalidArgument("the volume has more than 1000 labels, or more than 256 KiB of them");
  }
  return ParseVolumeOptions(request.options).status();
}

Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_DIRECTORY));
  return ::fsync(fd.get()) == 0 ? Status() : ErrnoError(errno, "sync " + path);
}

Result<bool> IsEmpty(const std::string& path) {
  ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, path));
  ASSIGN_OR_RETURN(std::optional<std::string> first, directory.Next());
  return !first.has_value();
}

}  // namespace

struct Volumes::State {
  State(Trash& trash_in, InUse in_use_in) : trash(trash_in), in_use(std::move(in_use_in)) {}

  std::string dir;  // <root>/volumes
  Trash& trash;
  const InUse in_use;
  std::vector<std::string> unreadable;

  std::mutex writers;        // Create and Remove, one at a time; over the disk, so readers never take it
  mutable std::mutex mutex;  // memory only
  std::map<std::string, VolumeRecord> records;
  struct Use {
    int holds = 0;
    std::mutex filling;  // over the disk
  };
  std::map<std::string, std::shared_ptr<Use>> uses;  // of those that somebody holds
  std::mutex mounting;                               // over mounts: they come one at a time

  [[nodiscard]] std::string At(const std::string& name) const { return dir + "/" + name; }

  Status Write(const VolumeRecord& record, const std::string& directory, sys::Durability durability) const {
    return sys::WriteFileAtomic(directory + kRecordFile, oci::ReflectToText(record), 0600, durability);
  }

  Status Load() {
    RETURN_IF_ERROR(sys::MakeDirectories(dir, 0700));
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, dir));
    for (;;) {
      ASSIGN_OR_RETURN(std::optional<std::string> name, directory.Next());
      if (!name) return {};
      if (name->starts_with(sys::kTemporaryPrefix)) {
        RETURN_IF_ERROR(trash.Discard(At(*name)));
        continue;
      }
      Result<VolumeRecord> record = Read(*name);
      if (record.ok()) {
        records.emplace(*name, std::move(*record));
      } else {
        unreadable.push_back("volume " + Printable(*name, 256) + ": " + record.status().message());
        LogWarning("{}", unreadable.back());
      }
    }
  }

  Result<VolumeRecord> Read(const std::string& name) const {
    if (!IsVolumeName(name)) return DataLoss("no name of a volume");
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(At(name) + kRecordFile, kMaxRecordBytes));
    ASSIGN_OR_RETURN(VolumeRecord record, oci::RecordFromText<VolumeRecord>(text, "volume", kVolumeVersion));
    if (record.name != name) return DataLoss("its record is of \"" + Printable(record.name, 256) + "\"");
    RETURN_IF_ERROR(CheckRequest(record));
    struct stat info {};
    if (::lstat((At(name) + kData).c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
      return DataLoss("it has no directory _data");
    }
    return record;
  }

  Result<VolumeRecord> Find(const std::string& name) const {
    std::lock_guard lock(mutex);
    auto found = records.find(name);
    if (found == records.end()) return NotFound("volume " + Printable(name, 300) + " not found");
    return found->second;
  }

  // Everything is made beside its place: a volume is there whole or not at all.
  Status Make(const VolumeRecord& record) const {
    ASSIGN_OR_RETURN(VolumeMount mount, ParseVolumeOptions(record.options));
    const std::string making = dir + "/" + std::string(sys::kTemporaryPrefix) + MintId().substr(0, 16);
    Status made = [&]() -> Status {
      RETURN_IF_ERROR(sys::MakeDirectories(making, 0700));
      RETURN_IF_ERROR(sys::MakeDirectories(making + kData, 0755));
      const bool owned = mount.uid || mount.gid;
      if (owned && ::chown((making + kData).c_str(), mount.uid.value_or(0), mount.gid.value_or(0)) != 0) {
        return ErrnoError(errno, "chown " + making);
      }
      RETURN_IF_ERROR(Write(record, making, sys::Durability::kDurable));
      FaultPoint("store.volumes.create.made");
      if (::rename(making.c_str(), At(record.name).c_str()) != 0) return ErrnoError(errno, "rename " + making);
      FaultPoint("store.volumes.create.renamed");
      return SyncDirectory(dir);
    }();
    if (!made.ok()) made = made.WithUndoError(trash.Discard(making));
    return made;
  }

  Status UnmountData(const std::string& name) {
    ASSIGN_OR_RETURN(bool mounted, sys::IsMountPoint(At(name) + kData));
    return mounted ? sys::Unmount(At(name) + kData) : Status();
  }
};

Volumes::Volumes(std::unique_ptr<State> state) : state_(std::move(state)) {}
Volumes::~Volumes() = default;

Result<std::unique_ptr<Volumes>> Volumes::Open(const std::string& root, Trash& trash, InUse in_use) {
  auto state = std::make_unique<State>(trash, std::move(in_use));
  state->dir = root + "/volumes";
  RETURN_IF_ERROR(state->Load().Annotate("read the volumes"));
  return std::unique_ptr<Volumes>(new Volumes(std::move(state)));
}

Result<std::pair<VolumeRecord, bool>> Volumes::Create(VolumeRecord request) {
  RETURN_IF_ERROR(CheckRequest(request));
  if (request.driver.empty()) request.driver = "local";
  request.version = kVolumeVersion;
  request.fresh = true;
  request.created_at = WallNanos();
  std::lock_guard writer(state_->writers);
  if (request.name.empty()) request.name = MintId();
  if (Result<VolumeRecord> there = state_->Find(request.name); there.ok()) {
    if (there->options == request.options && there->labels == request.labels) return std::pair(*there, false);
    return AlreadyExists("volume " + request.name + " exists with other options or labels");
  }
  if (List().size() >= kMaxVolumes) return ResourceExhausted("there are 16384 volumes already");
  RETURN_IF_ERROR(state_->Make(request).Annotate("create volume " + request.name));
  std::lock_guard lock(state_->mutex);
  state_->records[request.name] = request;
  return std::pair(std::move(request), true);
}

Result<VolumeRecord> Volumes::Find(const std::string& name) const { return state_->Find(name); }

std::vector<VolumeRecord> Volumes::List() const {
  std::vector<VolumeRecord> list;
  std::lock_guard lock(state_->mutex);
  for (const auto& [name, record] : state_->records) list.push_back(record);
  return list;
}

VolumeHold Volumes::Hold(const std::string& name) {
  std::lock_guard lock(state_->mutex);
  std::shared_ptr<State::Use>& use = state_->uses[name];
  if (!use) use = std::make_shared<State::Use>();
  ++use->holds;
  return VolumeHold(std::shared_ptr<void>(nullptr, [state = state_.get(), name](void*) {
    std::lock_guard release(state->mutex);
    auto found = state->uses.find(name);
    if (found != state->uses.end() && --found->second->holds == 0) state->uses.erase(found);
  }));
}

Status Volumes::Remove(const std::string& name) {
  std::lock_guard writer(state_->writers);
  VolumeRecord record;
  {
    std::lock_guard lock(state_->mutex);
    auto found = state_->records.find(name);
    if (found == state_->records.end()) return NotFound("volume " + Printable(name, 300) + " not found");
    // A container that is being made holds it until its record names it, so one of the two tells.
    if (state_->uses.count(name) != 0 || state_->in_use(name)) {
      return FailedPrecondition("volume " + name + " is in use");
    }
    record = std::move(found->second);
    state_->records.erase(found);
  }
  Status removed = [&]() -> Status {
    RETURN_IF_ERROR(state_->UnmountData(name));
    FaultPoint("store.volumes.remove.unmounted");
    return state_->trash.Discard(state_->At(name));
  }();
  if (removed.ok()) return removed;
  std::lock_guard lock(state_->mutex);
  state_->records[name] = std::move(record);
  return removed.Annotate("remove volume " + name);
}

std::string Volumes::Mountpoint(const std::string& name) const { return state_->At(name) + kData; }

Result<Volumes::Attached> Volumes::Attach(const std::string& name) {
  ASSIGN_OR_RETURN(VolumeRecord record, Find(name));
  const std::string intent = "volume " + name;
  ASSIGN_OR_RETURN_WITH(VolumeMount mount, ParseVolumeOptions(record.options), intent);
  if (!mount.bind.empty()) {
    struct stat info {};
    if (::stat(mount.bind.c_str(), &info) != 0) {
      return FailedPrecondition(intent + ": " + ErrnoError(errno, "device " + Printable(mount.bind, 300)).message());
    }
    return Attached{mount.bind, mount.read_only};
  }
  const std::string data = Mountpoint(name);
  if (!mount.tmpfs) return Attached{data, mount.read_only};
  std::lock_guard lock(state_->mounting);
  ASSIGN_OR_RETURN_WITH(bool mounted, sys::IsMountPoint(data), intent);
  if (!mounted) RETURN_IF_ERROR(sys::Mount("tmpfs", data, "tmpfs", mount.flags, mount.data).Annotate(intent));
  return Attached{data, mount.read_only};
}

Status Volumes::Collect() {
  Status status;
  for (const VolumeRecord& record : List()) {
    Result<VolumeMount> mount = ParseVolumeOptions(record.options);
    if (!mount.ok() || !mount->tmpfs) continue;
    std::lock_guard mounting(state_->mounting);
    {
      std::lock_guard lock(state_->mutex);
      if (state_->uses.count(record.name) != 0 || state_->in_use(record.name)) continue;
    }
    Status unmounted = state_->UnmountData(record.name);
    if (!unmounted.ok()) status = unmounted.Annotate("volume " + record.name);
  }
  return status;
}

Status Volumes::Fill(const std::string& name, const std::function<Status(const std::string&)>& fill) {
  const VolumeHold hold = Hold(name);
  std::shared_ptr<State::Use> use;
  {
    std::lock_guard lock(state_->mutex);
    use = state_->uses[name];
  }
  std::lock_guard filling(use->filling);
  ASSIGN_OR_RETURN(VolumeRecord record, Find(name));
  ASSIGN_OR_RETURN(VolumeMount mount, ParseVolumeOptions(record.options));
  const std::string data = Mountpoint(name);
  Status filled = [&]() -> Status {
    if (!mount.bind.empty() || !fill) return {};
    ASSIGN_OR_RETURN(bool empty, IsEmpty(data));
    if (!empty) return {};
    if (mount.tmpfs) return fill(data);
    const std::string making = state_->At(name) + "/" + std::string(sys::kTemporaryPrefix) + MintId().substr(0, 16);
    Status made = sys::MakeDirectories(making, 0700);
    if (made.ok()) made = fill(making);
    const bool owned = mount.uid || mount.gid;
    if (made.ok() && owned && ::chown(making.c_str(), mount.uid.value_or(-1), mount.gid.value_or(-1)) != 0) {
      made = ErrnoError(errno, "chown " + making);
    }
    FaultPoint("store.volumes.fill.made");
    // Over an empty directory: whoever wrote something into it meanwhile keeps that (ENOTEMPTY).
    if (made.ok() && ::rename(making.c_str(), data.c_str()) != 0) made = ErrnoError(errno, "rename " + making);
    if (!made.ok()) made = made.WithUndoError(state_->trash.Discard(making));
    return made;
  }();
  RETURN_IF_ERROR(filled.Annotate("fill volume " + name));
  if (!record.fresh) return {};
  record.fresh = false;
  RETURN_IF_ERROR(state_->Write(record, state_->At(name), sys::Durability::kAtomic));
  std::lock_guard lock(state_->mutex);
  auto found = state_->records.find(name);
  if (found != state_->records.end()) found->second.fresh = false;
  return {};
}

Result<DiskUsage> Volumes::Usage(const std::string& name) const {
  ASSIGN_OR_RETURN(VolumeRecord record, Find(name));
  ASSIGN_OR_RETURN(VolumeMount mount, ParseVolumeOptions(record.options));
  if (!mount.bind.empty()) return DiskUsage{};  // the node's
  ASSIGN_OR_RETURN(TreeUsage usage, MeasureTree(Mountpoint(name), kMaxCounted));
  return usage.disk;
}

const std::vector<std::string>& Volumes::unreadable() const { return state_->unreadable; }

}  // namespace davit::store
