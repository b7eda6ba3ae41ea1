// Archives of images: what `docker save` (docker-archive, manifest.json), skopeo and podman (oci-archive) write, and
// OCI image layouts, as a file or a directory (OCI image-spec, image-layout.md).
//
// A compressed file (gzip, zstd) is unpacked first, into a file without a name. Nothing of an archive is believed:
// blobs are named by the digest of what they are, members are read where they stand and never written, a directory is
// entered by openat2(RESOLVE_IN_ROOT). Caps: 100,000 members, 1,000 images, 4 MiB for a document.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/image_source.h"
#include "oci/image_spec.h"
#include "sys/unique_fd.h"

namespace davit::image {

class Archive {
 public:
  struct Image {
    std::vector<std::string> names;  // as the archive has them; may be empty
    FetchedManifest top;             // an index or a manifest
    bool own_digests = true;         // false: the manifest is made here, for docker-archives have none
  };

  // `spool`: a directory for what a compressed file unpacks to, at most `max_bytes`.
  //   kInvalidArgument    no archive of images, with what is wrong
  //   kResourceExhausted  a cap, or no space left
  //   kNotFound           no such file
  static Result<std::unique_ptr<Archive>> Open(const std::string& path, const std::string& spool, uint64_t max_bytes);

  [[nodiscard]] const std::vector<Image>& images() const { return images_; }
  // Any number, each for one thread; the archive outlives them.
  [[nodiscard]] std::unique_ptr<ImageSource> Source(size_t image) const;

 private:
  friend class ArchiveSource;
  struct Member {
    uint64_t offset = 0;  // of a file's data in the archive
    uint64_t size = 0;
    std::string link;  // of a symbolic or hard link
  };
  Archive() = default;
  Status Index();
  Status ReadDockerManifest(const std::string& text);
  Status ReadLayout(const std::string& text);
  Status AddDockerImage(const std::string& config, std::vector<std::string> names,
                        const std::vector<std::string>& layers);
  Result<Member> Find(const std::string& name) const;  // of a file
  Result<std::string> Document(const std::string& name) const;
  Status Read(const std::string& name, const std::function<Status(std::string_view)>& sink) const;
  Result<uint64_t> SizeOf(const std::string& name) const;
  // The member that has a blob.
  [[nodiscard]] std::string MemberOf(const oci::Digest& digest) const;

  std::string path_;
  sys::UniqueFd fd_;  // the file, or the directory
  bool directory_ = false;
  std::map<std::string, Member> members_;          // of a file
  std::map<oci::Digest, std::string> blob_names_;  // of a docker-archive
  std::vector<Image> images_;
};

}  // namespace davit::image
