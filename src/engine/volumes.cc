// The volume verbs, and what a container takes of volumes.

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "container/declared_volumes.h"
#include "container/mounts.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

// The users are named, the first ones at least.
Status InUse(const std::string& name, const std::vector<std::string>& users) {
  constexpr size_t kNamed = 3;
  std::string text;
  for (size_t i = 0; i < users.size() && i < kNamed; ++i) text += (i == 0 ? "" : ", ") + users[i];
  if (users.size() > kNamed) text += " and " + std::to_string(users.size() - kNamed) + " more";
  return FailedPrecondition("volume " + name + " is used by container " + text);
}

// Of a container's definition: what it had no name for got one of 64 digits.
store::VolumeRecord VolumeOf(const std::string& name) {
  store::VolumeRecord request;
  request.name = name;
  request.anonymous = IsFullId(name);
  return request;
}

}  // namespace

std::vector<std::string> Engine::State::UsersOfVolume(const std::string& name) const {
  std::vector<std::string> users;
  const SnapshotPtr view = View();
  for (const auto& [id, record] : view->containers()) {
    const auto& mounts = record->spec.mounts;
    if (std::any_of(mounts.begin(), mounts.end(), [&](const container::Mount& m) { return m.volume == name; })) {
      users.push_back(id.str());
    }
  }
  return users;
}

Result<std::vector<store::VolumeHold>> Engine::State::FindVolumes(container::ContainerRecord& record) {
  std::vector<store::VolumeHold> holds;
  for (size_t i = 0; i < record.spec.mounts.size(); ++i) {
    container::Mount& mount = record.spec.mounts[i];
    if (mount.volume.empty()) continue;
    const std::string field = "mounts[" + std::to_string(i) + "].volume";
    // Held first: a removal between the two would take it from under the container.
    holds.push_back(volumes->Hold(mount.volume));
    // A davitd that was killed between the record and its volumes has left that to this one.
    if (record.spec.standalone && !volumes->Find(mount.volume).ok()) {
      RETURN_IF_ERROR(volumes->Create(VolumeOf(mount.volume)).status().Annotate(field));
    }
    ASSIGN_OR_RETURN_WITH(const store::Volumes::Attached attached, volumes->Attach(mount.volume), field);
    mount.host_path = attached.path;
    mount.readonly = mount.readonly || attached.read_only;
  }
  return holds;
}

Result<Engine::State::DefinedVolumes> Engine::State::DefineVolumes(const oci::ImageConfig& image,
                                                                   container::ContainerSpec& spec) {
  DefinedVolumes defined;
  std::vector<container::NamedVolume>& wanted = spec.standalone->volumes;
  Status status = [&]() -> Status {
    std::vector<oci::SpecMount> taken;
    for (const container::Mount& mount : spec.mounts) {
      taken.push_back({container::CleanAbsolute(mount.container_path), "bind", "", {}, {}, {}});
    }
    for (const container::NamedVolume& volume : wanted) {
      taken.push_back({container::CleanAbsolute(volume.container_path), "bind", "", {}, {}, {}});
    }
    ASSIGN_OR_RETURN(std::vector<std::string> paths, container::DeclaredVolumes(image.volumes, taken));
    for (std::string& path : paths) wanted.push_back({"", std::move(path), false, false, ""});
    for (container::NamedVolume& volume : wanted) {
      if (volume.name.empty()) volume.name = MintId();
      if (!store::IsVolumeName(volume.name)) {
        return InvalidArgument("volumes: \"" + Printable(volume.name, 300) + "\" is no name of a volume");
      }
      defined.holds.push_back(volumes->Hold(volume.name));
      if (!volumes->Find(volume.name).ok()) defined.made.push_back(volume.name);
      container::Mount mount;
      mount.container_path = volume.container_path;
      mount.volume = volume.name;
      mount.volume_sub_path = volume.sub_path;
      mount.volume_no_copy = volume.no_copy;
      mount.readonly = volume.readonly;
      spec.mounts.push_back(std::move(mount));
    }
    return {};
  }();
  if (status.ok()) return defined;
  return status;
}

void Engine::State::RemoveVolumes(DefinedVolumes defined) {
  defined.holds.clear();
  for (const std::string& name : defined.made) {
    Status removed = volumes->Remove(name);
    if (removed.ok()) activity.Add({"volume", "destroy", name, 0, {{"driver", "local"}}, true});
    if (!removed.ok() && removed.code() != StatusCode::kNotFound) LogWarning("{}", removed.message());
  }
}

void Engine::State::RemoveAnonymousVolumes(const container::ContainerRecord& record) {
  DefinedVolumes defined;
  for (const container::Mount& mount : record.spec.mounts) {
    if (mount.volume.empty()) continue;
    Result<store::VolumeRecord> volume = volumes->Find(mount.volume);
    // Another container may have taken it over by its name.
    if (volume.ok() && volume->anonymous && UsersOfVolume(mount.volume).empty()) defined.made.push_back(mount.volume);
  }
  RemoveVolumes(std::move(defined));
}

Result<std::vector<Engine::Volume>> Engine::Volumes(const std::vector<std::string>& names) const {
  std::vector<store::VolumeRecord> records;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(store::VolumeRecord record, state_->volumes->Find(name));
    records.push_back(std::move(record));
  }
  if (names.empty()) records = state_->volumes->List();
  // Each container once, not once for each volume.
  std::map<std::string, std::vector<std::string>> users;
  const SnapshotPtr view = View();
  for (const auto& [id, record] : view->containers()) {
    for (const container::Mount& mount : record->spec.mounts) {
      if (mount.volume.empty()) continue;
      std::vector<std::string>& ids = users[mount.volume];
      if (ids.empty() || ids.back() != id.str()) ids.push_back(id.str());
    }
  }
  std::vector<Volume> volumes;
  for (store::VolumeRecord& record : records) {
    Volume volume;
    volume.mountpoint = state_->volumes->Mountpoint(record.name);
    if (auto found = users.find(record.name); found != users.end()) volume.containers = found->second;
    volume.record = std::move(record);
    volumes.push_back(std::move(volume));
  }
  return volumes;
}

void Engine::CreateVolume(store::VolumeRecord request, Done<CreatedVolume> done) {
  State* state = state_.get();
  state->image_pool.Post([this, state, request = std::move(request), done = std::move(done)] {
    Result<CreatedVolume> result = [&]() -> Result<CreatedVolume> {
      ASSIGN_OR_RETURN(auto made, state->volumes->Create(request));
      if (made.second) state->activity.Add({"volume", "create", made.first.name, 0, {{"driver", "local"}}, true});
      ASSIGN_OR_RETURN(std::vector<Volume> found, Volumes({made.first.name}));
      return CreatedVolume{std::move(found.front()), made.second};
    }();
    done(result);
  });
}

void Engine::MeasureVolumes(const std::vector<std::string>& names, Done<std::vector<Volume>> done) {
  State* state = state_.get();
  state->save_pool.Post([this, state, names, done = std::move(done)] {
    Result<std::vector<Volume>> volumes = Volumes(names);
    for (size_t i = 0; volumes.ok() && i < volumes->size(); ++i) {
      Volume& volume = (*volumes)[i];
      // One that is removed meanwhile has none.
      if (Result<store::DiskUsage> usage = state->volumes->Usage(volume.record.name); usage.ok()) {
        volume.bytes = usage->bytes;
      }
    }
    done(volumes);
  });
}

void Engine::RemoveVolume(const std::string& name, bool missing_ok, Done<Nothing> done) {
  State* state = state_.get();
  state->image_pool.Post([state, name, missing_ok, done = std::move(done)] {
    const std::vector<std::string> users = state->UsersOfVolume(name);
    Status removed =
        users.empty() || !state->volumes->Find(name).ok() ? state->volumes->Remove(name) : InUse(name, users);
    if (removed.ok()) state->activity.Add({"volume", "destroy", name, 0, {{"driver", "local"}}, true});
    if (missing_ok && removed.code() == StatusCode::kNotFound) removed = {};
    done(ToResult(removed));
  });
}

}  // namespace davit::engine
