#include "store/layer_mounts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "store/directory.h"
#include "sys/atomic_file.h"
#include "sys/loop_mount.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::store {

MountLease::~MountLease() {
  if (mounts_ != nullptr) mounts_->Release(names_);
}

Result<std::unique_ptr<LayerMounts>> LayerMounts::Open(const std::string& state, const LayerDriver& layers,
                                                       InUse in_use) {
  std::string directory = state + "/layers";
  RETURN_IF_ERROR(sys::MakeDirectories(directory, 0700));
  return std::unique_ptr<LayerMounts>(new LayerMounts(std::move(directory), layers, std::move(in_use)));
}

Result<std::string> LayerMounts::Path(const oci::Digest& key, MountLease& lease) {
  ASSIGN_OR_RETURN(Layer layer, layers_.Find(key));
  if (!layer.info.file) return layer.path;
  const std::string target = directory_ + "/" + key.hex();
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(MountNow(layer, target));
  ++leases_[key.hex()];
  lease.mounts_ = this;
  lease.names_.push_back(key.hex());
  return target;
}

Status LayerMounts::MountNow(const Layer& layer, const std::string& target) {
  const LayerFile& file = *layer.info.file;
  const std::string path = layer.FilePath();
  RETURN_IF_ERROR(sys::MakeDirectories(target, 0700));
  FaultPoint("store.layer_mount.directory");
  // The file that is mounted is the one that is looked at.
  Result<sys::UniqueFd> opened = sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!opened.ok()) {
    return FailedPrecondition(fmt::format("{} ({}): pull the image again", opened.status().message(), "image file"));
  }
  LayerFile now = file;
  RETURN_IF_ERROR(Identify(opened->get(), now).Annotate(path));
  if (!file.path.empty() && now != file) {
    return FailedPrecondition(path + " is not the file that was pulled, it has changed since: pull the image again");
  }
  // Looked at even where it is mounted: a file that was written to is not what the image's digest says.
  ASSIGN_OR_RETURN(bool mounted, sys::IsMountPoint(target));
  if (mounted) return {};
  RETURN_IF_ERROR(sys::MountLoop({opened->get(), path, file.offset, file.size, "squashfs"}, target));
  FaultPoint("store.layer_mount.mounted");
  return {};
}

void LayerMounts::Release(const std::vector<std::string>& names) {
  std::lock_guard lock(mutex_);
  for (const std::string& name : names) {
    auto found = leases_.find(name);
    if (found != leases_.end() && --found->second == 0) leases_.erase(found);
  }
}

Result<std::vector<std::string>> LayerMounts::Mounted() const {
  ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, directory_));
  std::vector<std::string> names;
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<std::string> name, directory.Next());
    if (!name) return names;
    names.push_back(std::move(*name));
  }
}

Status LayerMounts::Collect() {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(std::vector<std::string> names, Mounted());
  Status failed;
  for (const std::string& name : names) {
    if (leases_.count(name) != 0) continue;
    Result<oci::Digest> key = oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, name);
    if (!key.ok()) {
      LogWarning("{}/{} is not the store's: left alone", directory_, Printable(name));
      continue;
    }
    if (in_use_ && in_use_(key->ToString())) continue;
    const std::string target = directory_ + "/" + name;
    Status gone = sys::Unmount(target);
    FaultPoint("store.layer_mount.unmounted");
    if (gone.ok() && ::rmdir(target.c_str()) != 0 && errno != ENOENT) gone = ErrnoError(errno, "remove " + target);
    if (!gone.ok() && failed.ok()) failed = gone;
  }
  return failed.Annotate("unmount layers");
}

}  // namespace davit::store
