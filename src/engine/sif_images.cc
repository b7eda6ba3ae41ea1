#include "engine/sif_images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "base/strings.h"
#include "engine/state.h"
#include "image/artifact.h"
#include "oci/image_spec.h"
#include "sif/sif.h"
#include "sys/unique_fd.h"

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

// The beginning decides; what the rest is, davit-pull says.
bool IsSifFile(const std::string& path) {
  const Result<sys::UniqueFd> fd = sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  char head[sif::kHeaderBytes];
  if (!fd.ok()) return false;
  const ssize_t n = ::pread(fd->get(), head, sizeof head, 0);
  return n > 0 && sif::LooksLikeSif({head, static_cast<size_t>(n)});
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

Result<image::ImageRecord> Engine::State::AdoptSif(const image::PullRequest& request, image::ImageRecord pulled,
                                                   Deadline deadline) {
  if (!config.image.sif.enabled) return pulled;
  ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(pulled.manifest_digest));
  ASSIGN_OR_RETURN(std::string text, content->Get(digest));
  ASSIGN_OR_RETURN(oci::Manifest manifest, oci::ParseManifest(text));
  if (manifest.layers.size() != 1 || manifest.layers[0].media_type != image::kMediaSifLayer) return pulled;
  ASSIGN_OR_RETURN(std::vector<image::ArtifactFile> files, image::ArtifactFiles(manifest));
  Result<image::ImageRecord> adopted = [&]() -> Result<image::ImageRecord> {
    const image::LayerHold hold = images->Hold(pulled.layers);
    ASSIGN_OR_RETURN(std::string directory, layers->Path(files[0].key));
    image::SifSource source;
    source.path = directory + "/" + files[0].path;
    source.artifact = &pulled;
    source.digest = manifest.layers[0].digest.ToString();
    return sif_puller->Pull(request, source, deadline);
  }();
  // Its names are the image's now; or it is none, and of no use.
  if (Status removed = images->Remove(pulled.id); !removed.ok()) LogWarning("{}", removed.message());
  return adopted;
}

Result<image::Puller::Loaded> Engine::State::LoadArchive(const image::PullRequest& request, Deadline deadline) {
  if (!request.import_config.empty() || !IsSifFile(request.archive)) return puller->Load(request, deadline);
  if (!config.image.sif.enabled) {
    return FailedPrecondition("load " + Printable(request.archive, 300) +
                              ": it is a SIF file, and image.sif.enabled is false");
  }
  if (request.archive_image != 0) return NotFound("a SIF file is one image");
  image::SifSource source;
  source.path = request.archive;
  image::Puller::Loaded loaded;
  ASSIGN_OR_RETURN(loaded.record, sif_puller->Pull(request, source, deadline));
  loaded.images = 1;
  return loaded;
}

// What a record that cannot be read uses is found in its text.
bool Engine::State::UsesLayer(const std::string& diff_id) const {
  for (const Records::Unreadable& row : records->unreadable()) {
    if (row.body.find(diff_id) != std::string::npos) return true;
  }
  auto names = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), diff_id) != list.end();
  };
  const SnapshotPtr view = View();
  for (const auto& [id, record] : view->containers()) {
    if (names(record->layers)) return true;
    for (const auto& [mount, volume] : record->image_volumes) {
      if (names(volume.layers)) return true;
    }
  }
  return false;
}

void Engine::State::CollectMounts() {
  if (Status status = layer_mounts->Collect(); !status.ok()) LogWarning("{}", status.message());
  if (Status status = volumes->Collect(); !status.ok()) LogWarning("{}", status.message());
}

}  // namespace davit::engine
