#include "image/rootfs_archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "image/decompress.h"
#include "image/sha256.h"
#include "oci/image_spec.h"
#include "oci/import_config.h"

namespace davit::image {
namespace {

constexpr size_t kPiece = 1 << 20;

Status ReadFrom(int fd, const std::string& path, const std::function<Status(std::string_view)>& sink) {
  std::string buffer(kPiece, '\0');
  off_t offset = 0;
  while (true) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read " + path);
    if (n == 0) return {};
    RETURN_IF_ERROR(sink(std::string_view(buffer).substr(0, static_cast<size_t>(n))));
    offset += n;
  }
}

// What a decompressor writes, hashed and dropped.
class HashSink final : public OutputSink {
 public:
  explicit HashSink(uint64_t max) : left_(max), buffer_(kPiece, '\0') {}
  Result<Space> GetSpace() override { return Space{buffer_.data(), buffer_.size()}; }
  Status Produced(size_t bytes) override {
    if (bytes > left_) return ResourceExhausted("it unpacks to more than image.max_layer_bytes");
    left_ -= bytes;
    hash_.Update(std::string_view(buffer_.data(), bytes));
    return {};
  }
  oci::Digest Finish() { return hash_.Finish(); }

 private:
  uint64_t left_;
  std::string buffer_;
  Sha256 hash_;
};

}  // namespace

class RootfsSource final : public ImageSource {
 public:
  explicit RootfsSource(const RootfsArchive& archive) : archive_(archive) {}
  Result<FetchedManifest> Manifest(const std::string&) override { return archive_.manifest_; }
  Result<std::string> SmallBlob(const oci::Digest&, uint64_t, uint64_t) override { return archive_.config_; }
  Status Blob(const oci::Digest&, uint64_t, const std::function<Status(std::string_view)>& sink) override {
    return ReadFrom(archive_.fd_.get(), archive_.path_, sink);
  }

 private:
  const RootfsArchive& archive_;
};

Result<std::unique_ptr<RootfsArchive>> RootfsArchive::Open(const std::string& path, const std::string& config,
                                                           uint64_t max_bytes) {
  std::unique_ptr<RootfsArchive> archive(new RootfsArchive());
  archive->path_ = path;
  ASSIGN_OR_RETURN(archive->fd_, sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (::fstat(archive->fd_.get(), &info) != 0) return ErrnoError(errno, "stat " + path);
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument(path + " is no file: pack the directory with tar, and give that");
  }
  archive->size_ = static_cast<uint64_t>(info.st_size);
  if (archive->size_ == 0) return InvalidArgument(path + " is empty");
  RETURN_IF_ERROR(archive->Hash(max_bytes).Annotate(path));
  ASSIGN_OR_RETURN(archive->config_, oci::WithLayer(config, archive->diff_id_));
  archive->config_digest_ = Sha256::Of(archive->config_);
  archive->manifest_.media_type = oci::kMediaDockerManifest;
  archive->manifest_.text = oci::MakeManifest(
      oci::kMediaDockerManifest,
      {std::string(oci::kMediaDockerConfig), archive->config_digest_, archive->config_.size(), {}, {}, {}},
      // Of this type the bytes alone decide the compression.
      {{std::string(oci::kMediaDockerLayerGzip), archive->blob_, archive->size_, {}, {}, {}}});
  archive->manifest_.digest = Sha256::Of(archive->manifest_.text);
  return archive;
}

Status RootfsArchive::Hash(uint64_t max_bytes) {
  Sha256 blob;
  HashSink sink(max_bytes);
  std::unique_ptr<Decompressor> decompressor;
  RETURN_IF_ERROR(ReadFrom(fd_.get(), path_, [&](std::string_view piece) -> Status {
    blob.Update(piece);
    if (!decompressor) {
      ASSIGN_OR_RETURN(Compression compression, DetectCompression(piece));
      ASSIGN_OR_RETURN(decompressor, Decompressor::Create(compression));
    }
    return decompressor->Write(piece, sink);
  }));
  if (!decompressor) return InvalidArgument("it is empty");
  RETURN_IF_ERROR(decompressor->Finish());
  blob_ = blob.Finish();
  diff_id_ = sink.Finish();
  return {};
}

std::unique_ptr<ImageSource> RootfsArchive::Source() const { return std::make_unique<RootfsSource>(*this); }

}  // namespace davit::image
