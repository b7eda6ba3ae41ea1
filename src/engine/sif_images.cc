#include "engine/sif_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "base/strings.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

Result<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), ::free);
  if (!real) return ErrnoError(errno, path);
  return std::string(real.get());
}

bool IsBelow(const std::string& path, std::string directory) {
  if (!directory.ends_with('/')) directory += '/';
  return path.starts_with(directory);
}

// A reference has no "." and no ".." among its components, so that the text says where it leads but for links.
Result<std::string> LocalFile(const config::SifConfig& config, const image::Reference& reference) {
  const std::string path = "/" + reference.repository();
  if (!reference.tag().empty() && reference.tag() != "latest") {
    return InvalidArgument(fmt::format("{}: a file has no tag \"{}\"", path, reference.tag()));
  }
  if (config.allowed_dirs.empty()) {
    return FailedPrecondition("image.sif.allowed_dirs is empty: no file of this node may be an image");
  }
  const Status denied = PermissionDenied(
      fmt::format("{} is in no directory of image.sif.allowed_dirs ({})", path, Join(config.allowed_dirs, ", ")));
  auto allowed = [&](const std::string& candidate, bool real) {
    return std::any_of(config.allowed_dirs.begin(), config.allowed_dirs.end(), [&](const std::string& directory) {
      if (!real) return IsBelow(candidate, directory);
      Result<std::string> resolved = RealPath(directory);
      return resolved.ok() && IsBelow(candidate, *resolved);
    });
  };
  if (!allowed(path, /*real=*/false)) return denied;  // before the disk is asked whether it is there
  ASSIGN_OR_RETURN(std::string real, RealPath(path));
  if (!allowed(real, /*real=*/true)) return denied;
  return real;
}

}  // namespace

Result<std::optional<image::SifSource>> SifSourceOf(const config::SifConfig& config,
                                                    const image::Reference& reference) {
  image::SifSource source;
  const bool local = reference.domain() == image::kLocalFileDomain;
  for (const std::string& entry : config.libraries) {
    if (entry.starts_with(reference.domain() + "=")) source.library = entry.substr(entry.find('=') + 1);
  }
  if (!local && source.library.empty()) return std::optional<image::SifSource>();
  if (!config.enabled) {
    return FailedPrecondition(fmt::format("{} is a SIF file, and image.sif.enabled is false", reference.String()));
  }
  if (!local) return std::optional<image::SifSource>(std::move(source));
  ASSIGN_OR_RETURN(source.path, LocalFile(config, reference));
  source.library.clear();
  return std::optional<image::SifSource>(std::move(source));
}

// What a record that cannot be read uses is found in its text.
bool Engine::State::UsesLayer(const std::string& diff_id) const {
  for (const Records::Unreadable& row : records->unreadable()) {
    if (row.body.find(diff_id) != std::string::npos) return true;
  }
  auto names = [&](const std::vector<std::string>& layers) {
    return std::find(layers.begin(), layers.end(), diff_id) != layers.end();
  };
  const SnapshotPtr view = View();
  for (const auto& [id, record] : view->containers) {
    if (names(record->layers)) return true;
    for (const auto& [mount, volume] : record->image_volumes) {
      if (names(volume.layers)) return true;
    }
  }
  return false;
}

void Engine::State::CollectMounts() {
  if (Status status = layer_mounts->Collect(); !status.ok()) LogWarning("{}", status.message());
}

}  // namespace davit::engine
