// What a container takes from elsewhere: the PID namespace of another container, the layers of images that it
// mounts, the user namespace of its pod.

#include <fcntl.h>
#include <unistd.h>

#include "base/strings.h"
#include "engine/state.h"
#include "sys/idmap.h"
#include "sys/process.h"
#include "sys/user_namespace.h"

namespace davit::engine {

using container::ContainerRecord;

Result<Target> Engine::State::FindTarget(const PodId& pod, const container::NamespaceOptions& options) const {
  const std::string field = "linux.security_context.namespace_options.target_id";
  Target target;
  if (options.pid != container::NamespaceMode::kTarget) {
    if (!options.target_id.empty()) return InvalidArgument(field + " is set, but pid is not TARGET");
    return target;
  }
  if (options.target_id.empty()) return InvalidArgument(field + " is empty, but pid is TARGET");
  Result<ContainerPtr> found = View().FindContainer(options.target_id);
  if (!found.ok()) return found.status().Annotate(field);
  const ContainerRecord& record = **found;
  if (record.pod != pod) {
    return InvalidArgument(field + ": container " + record.id.Short() + " is in another pod sandbox");
  }
  auto running = [&]() -> Result<monitor::State> {
    Result<monitor::State> now = monitor::Query(containers->paths().Directory(record.id), Deadline::After(kKillBudget));
    bool alive = now.ok() && (now->phase == monitor::Phase::kRunning || now->phase == monitor::Phase::kCreated);
    if (alive) return now;
    return InvalidArgument(field + ": container " + record.id.Short() + " is not running");
  };
  ASSIGN_OR_RETURN(monitor::State state, running());
  ASSIGN_OR_RETURN(target.pid_namespace, sys::Open("/proc/" + std::to_string(state.pid) + "/ns/pid", O_RDONLY));
  // Asked again: had it ended before the file was open, the number could be somebody else's by then.
  RETURN_IF_ERROR(running().status());
  target.path = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(target.pid_namespace.get());
  return target;
}

Result<std::vector<std::string>> Engine::State::LayerPaths(const std::vector<std::string>& diff_ids,
                                                           store::MountLease& lease) {
  std::vector<std::string> paths;
  for (auto layer = diff_ids.rbegin(); layer != diff_ids.rend(); ++layer) {
    ASSIGN_OR_RETURN(oci::Digest diff_id, oci::Digest::Parse(*layer));
    if (std::optional<std::string> why = layers->Damaged(diff_id)) {
      return DataLoss("layer " + *layer + " of the image is damaged (" + *why +
                      "): pull the image again (davit image pull), which fetches just this layer");
    }
    ASSIGN_OR_RETURN(std::string path, layer_mounts->Path(diff_id, lease));
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<ImageVolumes> Engine::State::FindImageVolumes(ContainerRecord& record, const pod::PodRecord& pod) {
  ImageVolumes found;
  for (size_t i = 0; i < record.spec.mounts.size(); ++i) {
    const std::string& text = record.spec.mounts[i].image;
    if (text.empty()) continue;
    const std::string field = "mounts[" + std::to_string(i) + "].image";
    ASSIGN_OR_RETURN_WITH(image::ImageRecord image, images->Resolve(text), field);
    found.holds.push_back(images->Hold(image.layers));
    ASSIGN_OR_RETURN_WITH(image, images->Find(image.id), field);
    RETURN_IF_ERROR(trust->Check(image, text, "", pod.spec.namespace_name).Annotate(field));
    ASSIGN_OR_RETURN_WITH(found.layers[i], LayerPaths(image.layers, found.mounts), field);
    record.image_volumes[std::to_string(i)] = {image.id, image.layers};
  }
  return found;
}

Status Engine::State::CheckUserNamespaces(const std::string& handler) const {
  const std::string field = "linux.security_context.namespace_options.userns_options";
  const container::RuntimeEntry* entry = containers->Handler(handler);
  if (entry == nullptr || !entry->features.user_namespaces) {
    return FailedPrecondition(field + ": runtime handler \"" + Printable(handler) + "\" has no user namespaces");
  }
  return idmap.Annotate(field);
}

Status ProbeIdmap(const std::string& directory) {
  constexpr uint32_t kAnyHostId = 100'000;
  ASSIGN_OR_RETURN(sys::UniqueFd user, sys::CreateUserNamespace({{{0, kAnyHostId, 1}}, {{0, kAnyHostId, 1}}}));
  ASSIGN_OR_RETURN(sys::UniqueFd tree, sys::CloneMount(directory, /*recursive=*/false));
  return sys::SetIdmap(tree.get(), user.get(), directory, /*recursive=*/false);
}

}  // namespace davit::engine
