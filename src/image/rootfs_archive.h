// RootfsArchive: a tar of a root filesystem, packed or not, as the one layer of an image (`davit image import`).
//
// Read once before anything is unpacked, for its digests; what is unpacked then has to be the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "image/image_source.h"
#include "sys/unique_fd.h"

namespace davit::image {

class RootfsArchive {
 public:
  // `config`: of oci::MakeImportConfig; `max_bytes`: of the tar, unpacked.
  //   kInvalidArgument    an empty file, or none; kUnimplemented a compression
  //   kResourceExhausted  more than max_bytes; kDataLoss a damaged packing; kNotFound no such file
  static Result<std::unique_ptr<RootfsArchive>> Open(const std::string& path, const std::string& config,
                                                     uint64_t max_bytes);

  // Any number, each for one thread; the archive outlives them.
  [[nodiscard]] std::unique_ptr<ImageSource> Source() const;

 private:
  friend class RootfsSource;
  RootfsArchive() = default;
  Status Hash(uint64_t max_bytes);

  std::string path_;
  sys::UniqueFd fd_;
  uint64_t size_ = 0;
  oci::Digest blob_;
  oci::Digest diff_id_;
  std::string config_;
  oci::Digest config_digest_;
  FetchedManifest manifest_;
};

}  // namespace davit::image
