// ImageSource: where davit-pull has the documents and blobs of one image from: a registry or an archive.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "oci/digest.h"

namespace davit::image {

struct FetchedManifest {
  std::string text;
  std::string media_type;  // Content-Type without parameters
  oci::Digest digest;      // computed from the text
};

// For one thread.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  // By tag or digest; with a digest the text is checked against it (kDataLoss).
  virtual Result<FetchedManifest> Manifest(const std::string& name) = 0;
  // A small blob (a config), checked against its digest.
  virtual Result<std::string> SmallBlob(const oci::Digest& digest, uint64_t size, uint64_t max) = 0;
  // Once and in order; the caller checks the digest. kDataLoss when there is more or less than `size`.
  virtual Status Blob(const oci::Digest& digest, uint64_t size,
                      const std::function<Status(std::string_view)>& sink) = 0;
};

}  // namespace davit::image
