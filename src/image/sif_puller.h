// SifPuller: makes images of SIF files, beside Puller, which makes them of layers (docs/adr/0024-sif.md).
//
// davit-pull hashes or downloads the file and reads it; this class gives it a directory, checks what it says as far as
// that can be checked without reading the file, and commits: layer | config and manifest | image record.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "image/images.h"
#include "image/puller.h"

namespace davit::image {

inline constexpr std::string_view kLocalFileDomain = "local.file";
inline constexpr std::string_view kMediaSifLayer = "application/vnd.sylabs.sif.layer.v1.sif";

// Where the file is: one of the first two.
struct SifSource {
  std::string path;         // on this node: absolute, without symbolic links
  std::string library;      // URL of a library, without a "/" at the end
  Credentials credentials;  // of the request or of the node, for the library
  // Of a path: the file of an artifact (artifact.h) in the store's own layers, with that digest. It becomes the image's
  // layer by a link, and the artifact's names, manifest and verdicts are then the image's. Not owned; null: none.
  const ImageRecord* artifact = nullptr;
  std::string digest;
};

class SifPuller {
 public:
  // The references outlive this.
  SifPuller(store::Content& content, store::LayerDriver& layers, Images& images, PullerOptions options)
      : content_(content), layers_(layers), images_(images), options_(std::move(options)) {}

  // A file that a request has as its `archive` is copied into the store and has no name; any other path stays where it
  // is. Blocks, as Puller::Pull, and has its codes; kFailedPrecondition also: the file was changed while it was read,
  // or this node cannot mount it. A local file that is as it was at the last pull is not read again. After an error
  // nothing stays.
  Result<ImageRecord> Pull(const PullRequest& request, const SifSource& source, Deadline deadline);

 private:
  Result<ImageRecord> Fetch(const PullRequest& request, const SifSource& source, Deadline deadline);

  store::Content& content_;
  store::LayerDriver& layers_;
  Images& images_;
  const PullerOptions options_;
};

}  // namespace davit::image
