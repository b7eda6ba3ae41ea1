// OCI artifacts: manifests whose config is no image config (OCI image-spec 1.1, manifest.md, "Guidelines for Artifact
// Usage"). They have no program to run; pods mount them as volumes (KEP-4639).
//
// Each blob becomes a layer of its own with one file, so that artifacts are stored, shared, mounted and removed as
// images are. Where the blob is a packed directory, the layer is what it unpacks to.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "oci/image_spec.h"

namespace davit::image {

struct ArtifactFile {
  oci::Descriptor blob;
  std::string path;  // in the volume: clean and relative; empty: the blob is a tar that is unpacked
  oci::Digest key;   // of the layer in the store: there is no diff ID
};

bool IsArtifact(const oci::Manifest& manifest);
// What it is: artifactType, or the config's media type (as the specification says for older ones).
std::string ArtifactType(const oci::Manifest& manifest);

// In the order of the manifest; of two with one path the later one is seen. The path is the annotation
// org.opencontainers.image.title, or the hex digits of the digest. A blob is unpacked when its annotation
// io.deis.oras.content.unpack is "true" (a directory that oras has packed), or when it has no title and the media type
// of an image's layer. kInvalidArgument naming a title that is no place in a directory.
Result<std::vector<ArtifactFile>> ArtifactFiles(const oci::Manifest& manifest);

}  // namespace davit::image
