#include "image/artifact.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "image/sha256.h"

namespace davit::image {
namespace {

constexpr size_t kMaxTitle = 1024;

std::string Annotation(const oci::Descriptor& blob, const std::string& name) {
  auto found = blob.annotations.find(name);
  return found == blob.annotations.end() ? std::string() : found->second;
}

// "a/b" of "./a/b/": a title comes from a command line, where people write such.
Result<std::string> PathOf(const std::string& title) {
  auto wrong = [&](std::string_view why) {
    return InvalidArgument(fmt::format("title \"{}\" of an artifact's blob {}", Printable(title, 256), why));
  };
  if (title.size() > kMaxTitle) return wrong("is too long");
  if (title.starts_with('/')) return wrong("is absolute");
  if (title.find('\0') != std::string::npos) return wrong("has a NUL byte");
  std::string path;
  for (const std::string& part : Split(title, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return wrong("has \"..\" in it");
    if (part.size() > 255) return wrong("has a component that is too long");
    if (part.starts_with(".wh.")) return wrong("is a whiteout's");
    path += (path.empty() ? "" : "/") + part;
  }
  return path.empty() ? wrong("names nothing") : Result<std::string>(path);
}

}  // namespace

bool IsArtifact(const oci::Manifest& manifest) {
  return !manifest.config.media_type.empty() && !oci::IsConfigMediaType(manifest.config.media_type);
}

std::string ArtifactType(const oci::Manifest& manifest) {
  return manifest.artifact_type.empty() ? manifest.config.media_type : manifest.artifact_type;
}

Result<std::vector<ArtifactFile>> ArtifactFiles(const oci::Manifest& manifest) {
  std::vector<ArtifactFile> files;
  for (const oci::Descriptor& blob : manifest.layers) {
    ArtifactFile file{blob, {}, {}};
    const std::string title = Annotation(blob, "org.opencontainers.image.title");
    const bool packed = Annotation(blob, "io.deis.oras.content.unpack") == "true";
    if (!packed && !title.empty()) {
      ASSIGN_OR_RETURN(file.path, PathOf(title));
    } else if (!packed && !oci::LayerKindOf(blob.media_type)) {
      file.path = blob.digest.hex();
    }
    file.key = Sha256::Of(fmt::format("artifact {} {}", blob.digest.ToString(), file.path));
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace davit::image
