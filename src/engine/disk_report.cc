#include "engine/disk_report.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "base/time.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

constexpr std::chrono::seconds kMaxAge{10};
constexpr size_t kStep = 2000;  // entries: some milliseconds
constexpr int kRestFactor = 4;

template <class T, class Size>
void LargestFirst(std::vector<T>& list, Size size) {
  std::stable_sort(list.begin(), list.end(), [&](const T& a, const T& b) { return size(a) > size(b); });
}

// Who names a layer.
struct Users {
  std::vector<std::string> images;
  std::set<std::string> containers;
  bool pinned = false;
};

std::map<std::string, Users> UsersOfLayers(const std::vector<image::ImageRecord>& images, const Snapshot& view) {
  std::map<std::string, Users> users;
  for (const image::ImageRecord& image : images) {
    for (const std::string& layer : std::set<std::string>(image.layers.begin(), image.layers.end())) {
      users[layer].images.push_back(image.id);
      users[layer].pinned = users[layer].pinned || image.pinned;
    }
  }
  for (const auto& [id, record] : view.containers()) {
    for (const std::string& layer : record->layers) users[layer].containers.insert(id.str());
    for (const auto& [mount, volume] : record->image_volumes) {
      for (const std::string& layer : volume.layers) users[layer].containers.insert(id.str());
    }
  }
  return users;
}

uint32_t ContainersOf(const std::string& image, const Snapshot& view) {
  uint32_t count = 0;
  for (const auto& [id, record] : view.containers()) {
    const auto& volumes = record->image_volumes;
    const bool mounted =
        std::any_of(volumes.begin(), volumes.end(), [&](const auto& v) { return v.second.image_id == image; });
    if (mounted || record->image_id == image) ++count;
  }
  return count;
}

void AddImages(DiskReport& report, const std::vector<image::ImageRecord>& images, const Snapshot& view,
               const std::map<std::string, Users>& users, const std::map<std::string, store::DiskUsage>& sizes) {
  for (const image::ImageRecord& record : images) {
    DiskReport::Image image;
    image.id = record.id;
    image.names = record.repo_tags.empty() ? record.repo_digests : record.repo_tags;
    image.containers = ContainersOf(record.id, view);
    image.pinned = record.pinned;
    for (const std::string& layer : std::set<std::string>(record.layers.begin(), record.layers.end())) {
      auto size = sizes.find(layer);
      if (size == sizes.end()) continue;
      const Users& of = users.at(layer);
      image.bytes += size->second.bytes;
      if (of.images.size() > 1) image.shared_bytes += size->second.bytes;
      if (of.images.size() == 1 && of.containers.empty()) image.reclaimable_bytes += size->second.bytes;
    }
    report.images.push_back(std::move(image));
  }
  LargestFirst(report.images, [](const auto& image) { return image.bytes; });
}

void AddContainer(DiskReport& report, const Snapshot& view, const store::OwnedBytes& part,
                  const std::function<std::optional<store::DiskUsage>(const ContainerId&)>& last_usage) {
  DiskReport::Container container;
  container.id = part.name;
  container.disk = part.disk;
  container.lower_bound = part.lower_bound;
  Result<ContainerId> id = ContainerId::Parse(part.name);
  auto found = id.ok() ? view.containers().find(*id) : view.containers().end();
  if (found == view.containers().end()) {  // of no container that is known
    report.parts.push_back(
        {store::OwnerName(store::Owner::kUnknown), "containers/" + part.name, part.disk, part.lower_bound});
    return;
  }
  if (part.lower_bound) {
    const store::DiskUsage last = last_usage(*id).value_or(store::DiskUsage());
    if (last.bytes > container.disk.bytes) container.disk = last;
  }
  container.name = found->second->spec.name;
  container.exited = found->second->phase == container::Phase::kExited;
  if (auto pod = view.pods().find(found->second->pod); pod != view.pods().end()) {
    container.pod_name = pod->second->spec.name;
    container.pod_namespace = pod->second->spec.namespace_name;
  }
  report.containers.push_back(std::move(container));
}

}  // namespace

DiskReport MakeDiskReport(const std::vector<image::ImageRecord>& images, const std::vector<store::Layer>& layers,
                          const Snapshot& view, const std::vector<store::OwnedBytes>& parts,
                          const std::function<std::optional<store::DiskUsage>(const ContainerId&)>& last_usage) {
  DiskReport report;
  std::map<std::string, Users> users = UsersOfLayers(images, view);
  std::map<std::string, store::DiskUsage> sizes;
  for (const store::Layer& layer : layers) {
    const std::string id = layer.diff_id.ToString();
    Users& of = users[id];
    sizes[id] = layer.disk;
    report.accounted_bytes += layer.disk.bytes;
    if (of.containers.empty() && !of.pinned) report.reclaimable_bytes += layer.disk.bytes;
    report.layers.push_back({id, layer.disk, of.images, {of.containers.begin(), of.containers.end()}});
  }
  AddImages(report, images, view, users, sizes);
  for (const store::OwnedBytes& part : parts) {
    if (part.owner == store::Owner::kContainer) {
      AddContainer(report, view, part, last_usage);
    } else {
      report.parts.push_back({store::OwnerName(part.owner), part.name, part.disk, part.lower_bound});
      if (part.owner == store::Owner::kTrash) report.reclaimable_bytes += part.disk.bytes;
    }
  }
  for (const DiskReport::Container& container : report.containers) {
    report.accounted_bytes += container.disk.bytes;
    if (container.exited) report.reclaimable_bytes += container.disk.bytes;
    report.lower_bound = report.lower_bound || container.lower_bound;
  }
  for (const DiskReport::Part& part : report.parts) {
    report.accounted_bytes += part.disk.bytes;
    report.lower_bound = report.lower_bound || part.lower_bound;
  }
  LargestFirst(report.layers, [](const auto& layer) { return layer.disk.bytes; });
  LargestFirst(report.containers, [](const auto& container) { return container.disk.bytes; });
  LargestFirst(report.parts, [](const auto& part) { return part.disk.bytes; });
  return report;
}

DiskMeasure::Last DiskMeasure::Read() {
  std::lock_guard lock(mutex_);
  const bool old = last_.measured_at == 0 || std::chrono::steady_clock::now() - ended_ > kMaxAge;
  if (!last_.measuring && old) {
    last_.measuring = worker_.Post([this](sched::IdleWorker::Pace& pace) { Walk(pace); });
  }
  return last_;
}

void DiskMeasure::Walk(sched::IdleWorker::Pace& pace) {
  Result<store::RootWalk> walk = store::RootWalk::Begin(root_, layers_());
  bool whole = !walk.ok();
  if (whole) LogWarning("{}", walk.status().message());
  while (!whole) {
    whole = walk->Step(kStep);
    {
      std::lock_guard lock(mutex_);
      // The whole one before tells more than a part of this one.
      if (whole || last_.measured_at == 0) last_.parts = walk->parts();
    }
    if (!whole && !pace.Rest(kRestFactor)) return;
  }
  std::lock_guard lock(mutex_);
  if (walk.ok()) last_.measured_at = WallNanos();
  ended_ = std::chrono::steady_clock::now();
  last_.measuring = false;
}

Result<DiskReport> Engine::Disk() {
  const DiskMeasure::Last last = state_->disk->Read();
  const SnapshotPtr view = View();
  const image::ImageList images = state_->images->List();
  DiskReport report = MakeDiskReport(*images, state_->layers->List(), *view, last.parts,
                                     [this](const ContainerId& id) -> std::optional<store::DiskUsage> {
                                       const std::optional<store::WritableUsage> usage = state_->rootfs->LastUsage(id);
                                       return usage ? std::optional(usage->disk) : std::nullopt;
                                     });
  report.measured_at = last.measured_at;
  report.measuring = last.measuring;
  report.lower_bound = report.lower_bound || last.measured_at == 0;
  struct statvfs info {};
  if (::statvfs(state_->config.root.c_str(), &info) != 0) return ErrnoError(errno, "look at " + state_->config.root);
  report.filesystem_bytes = info.f_blocks * info.f_frsize;
  report.filesystem_used = (info.f_blocks - info.f_bfree) * info.f_frsize;
  report.filesystem_available = info.f_bavail * info.f_frsize;
  report.filesystem_inodes = info.f_files;
  report.filesystem_inodes_free = info.f_ffree;
  report.mount_point = store::MountPointOf(state_->config.root).value_or(state_->config.root);
  return report;
}

}  // namespace davit::engine
