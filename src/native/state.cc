#include "native/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/strings.h"
#include "oci/json_writer.h"
#include "oci/reflect.h"
#include "oci/runtime_spec_reader.h"
#include "sys/atomic_file.h"

namespace davit::native {

BOOST_DESCRIBE_STRUCT(ProcessName, (), (pid, start_time))
BOOST_DESCRIBE_STRUCT(Record, (),
                      (version, id, bundle, rootfs, owner, created, oci_version, annotations, phase, process, creator,
                       cgroup, systemd, rdt_group))

namespace {

inline constexpr size_t kMaxRecordBytes = 4u << 20;
inline constexpr size_t kMaxIdBytes = 255;  // NAME_MAX

Status NoContainer(const std::string& id) {
  return NotFound(fmt::format("container {} does not exist", Printable(id)));
}

// A process that has ended and is not reaped yet is still in /proc.
bool IsZombie(pid_t pid) {
  Result<std::string> stat = sys::ReadFile(fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat.ok()) return true;
  size_t end = stat->rfind(')');
  return end == std::string::npos || end + 2 >= stat->size() || (*stat)[end + 2] == 'Z' || (*stat)[end + 2] == 'X';
}

}  // namespace

std::string_view StatusName(ContainerStatus status) {
  switch (status) {
    case ContainerStatus::kCreating:
      return "creating";
    case ContainerStatus::kCreated:
      return "created";
    case ContainerStatus::kRunning:
      return "running";
    case ContainerStatus::kPaused:
      return "paused";
    case ContainerStatus::kStopped:
      return "stopped";
  }
  return "unknown";
}

Result<ProcessName> NameOf(pid_t pid) {
  ASSIGN_OR_RETURN(uint64_t start, sys::ProcessStartTime(pid));
  return ProcessName{pid, start};
}

Result<sys::PidFd> FindProcess(const ProcessName& name) {
  Status gone = NotFound(fmt::format("process {} has ended", name.pid));
  if (name.pid <= 0) return gone;
  // First the descriptor, then the question who it is: what it names cannot change any more.
  Result<sys::PidFd> pidfd = sys::PidFd::Open(static_cast<pid_t>(name.pid));
  if (!pidfd.ok()) return gone;
  Result<uint64_t> start = sys::ProcessStartTime(static_cast<pid_t>(name.pid));
  if (!start.ok() || *start != name.start_time || IsZombie(static_cast<pid_t>(name.pid))) return gone;
  return pidfd;
}

Status CheckContainerId(const std::string& id) {
  bool good = !id.empty() && id.size() <= kMaxIdBytes && id != "." && id != ".." &&
              std::all_of(id.begin(), id.end(), [](unsigned char c) {
                return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                       c == '+' || c == '-' || c == '.';
              });
  if (good) return {};
  return InvalidArgument(
      fmt::format("invalid container id \"{}\": expected 1 to 255 of letters, digits, _, +, - and .", Printable(id)));
}

Result<ContainerState> ContainerState::Create(const std::string& root, const std::string& id) {
  RETURN_IF_ERROR(CheckContainerId(id));
  RETURN_IF_ERROR(sys::MakeDirectories(root, 0700));
  ContainerState state(root + "/" + id, id);
  if (::mkdir(state.directory_.c_str(), 0700) != 0) {
    if (errno == EEXIST) return AlreadyExists(fmt::format("container with id {} exists already", id));
    return ErrnoError(errno, "make " + state.directory_);
  }
  Status locked = state.Lock();
  if (!locked.ok()) {
    IgnoreError(state.Remove());
    return locked;
  }
  return state;
}

Result<ContainerState> ContainerState::Open(const std::string& root, const std::string& id) {
  RETURN_IF_ERROR(CheckContainerId(id));
  ContainerState state(root + "/" + id, id);
  struct stat info {};
  if (::lstat(state.directory_.c_str(), &info) != 0) {
    return errno == ENOENT || errno == ENOTDIR ? NoContainer(id) : ErrnoError(errno, state.directory_);
  }
  if (!S_ISDIR(info.st_mode)) return NoContainer(id);
  return state;
}

Result<std::vector<std::string>> ContainerState::List(const std::string& root) {
  std::vector<std::string> ids;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(root.c_str()), ::closedir);
  if (!directory) {
    if (errno == ENOENT) return ids;
    return ErrnoError(errno, "read " + root);
  }
  while (dirent* entry = ::readdir(directory.get())) {
    if (CheckContainerId(entry->d_name).ok()) ids.emplace_back(entry->d_name);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Status ContainerState::Lock() {
  const std::string path = directory_ + "/lock";
  sys::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return errno == ENOENT ? NoContainer(id_) : ErrnoError(errno, "open " + path);
  // Not flock(2): a container's process that waits for its start was cloned from the runtime that made it, and would
  // share the lock of one that was killed. A lock of this kind is the process's alone (fcntl(2), "Advisory record
  // locking").
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  while (::fcntl(fd.get(), F_SETLKW, &whole) != 0) {
    if (errno != EINTR) return ErrnoError(errno, "lock " + path);
  }
  // Who held it may have deleted the container.
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || info.st_nlink == 0) return NoContainer(id_);
  lock_ = std::move(fd);
  return {};
}

Result<Record> ContainerState::Load() const {
  Result<std::string> text = sys::ReadFile(directory_ + "/state.json", kMaxRecordBytes);
  if (!text.ok()) return text.code() == StatusCode::kNotFound ? NoContainer(id_) : text.status();
  Result<Record> record = oci::RecordFromText<Record>(*text, "container", kStateVersion);
  if (!record.ok()) return record.status().Annotate(directory_ + "/state.json");
  return record;
}

Status ContainerState::Save(const Record& record) const {
  return sys::WriteFileAtomic(directory_ + "/state.json", oci::ReflectToText(record), 0600, sys::Durability::kAtomic);
}

Status ContainerState::SaveConfig(std::string_view text) const {
  return sys::WriteFileAtomic(directory_ + "/config.json", text, 0600, sys::Durability::kAtomic);
}

Result<std::string> ContainerState::LoadConfig() const {
  return sys::ReadFile(directory_ + "/config.json", oci::kMaxRuntimeSpecBytes);
}

Status ContainerState::Remove() const { return sys::RemoveTree(directory_); }

ContainerStatus StatusOf(const Record& record, bool frozen) {
  if (record.phase == Phase::kCreating) {
    return FindProcess(record.creator).ok() ? ContainerStatus::kCreating : ContainerStatus::kStopped;
  }
  if (!FindProcess(record.process).ok()) return ContainerStatus::kStopped;
  if (record.phase == Phase::kCreated) return ContainerStatus::kCreated;
  return frozen ? ContainerStatus::kPaused : ContainerStatus::kRunning;
}

std::string StateJson(const Record& record, ContainerStatus status, int64_t pid) {
  oci::JsonWriter out;
  out.BeginObject().Field("ociVersion", record.oci_version).Field("id", record.id);
  out.Field("pid", status == ContainerStatus::kStopped ? int64_t{0} : pid);
  out.Field("status", std::string(StatusName(status))).Field("bundle", record.bundle);
  out.NonEmpty("rootfs", record.rootfs).NonEmpty("created", record.created);
  out.NonEmpty("annotations", record.annotations).NonEmpty("owner", record.owner).EndObject();
  return std::move(out).Take();
}

}  // namespace davit::native
