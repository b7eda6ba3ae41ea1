#include "image/image_export.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <map>
#include <memory>
#include <set>

#include "base/fault.h"
#include "base/strings.h"
#include "image/layer_export.h"
#include "image/sha256.h"
#include "oci/image_spec.h"
#include "store/content.h"
#include "store/layers.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr size_t kPiece = 256 << 10;

std::string BlobPath(const oci::Digest& digest) {
  return fmt::format("blobs/{}/{}", oci::AlgorithmName(digest.algorithm()), digest.hex());
}

// gzip into a file without a name, and the digest of that.
class GzipFile {
 public:
  static Result<std::unique_ptr<GzipFile>> Create(const std::string& directory) {
    ASSIGN_OR_RETURN_WITH(sys::UniqueFd fd, sys::Open(directory, O_TMPFILE | O_RDWR, 0600), "spool a layer");
    std::unique_ptr<GzipFile> file(new GzipFile(std::move(fd)));
    // 16: with gzip's header, which has neither name nor time.
    if (::deflateInit2(&file->stream_, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      return ResourceExhausted("no memory to compress a layer");
    file->begun_ = true;
    return file;
  }
  ~GzipFile() {
    if (begun_) ::deflateEnd(&stream_);
  }
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;

  Status Write(std::string_view bytes) { return Deflate(bytes, Z_NO_FLUSH); }
  Result<oci::Digest> Finish() {
    RETURN_IF_ERROR(Deflate({}, Z_FINISH));
    return hash_.Finish();
  }
  [[nodiscard]] uint64_t size() const { return size_; }

  Status CopyTo(ExportSink& sink) {
    for (uint64_t at = 0; at < size_;) {
      ssize_t n = ::pread(fd_.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read a spooled layer");
      if (n == 0) return DataLoss("a spooled layer has become shorter");
      RETURN_IF_ERROR(sink.Write({buffer_.data(), static_cast<size_t>(n)}));
      at += static_cast<uint64_t>(n);
    }
    return {};
  }

 private:
  explicit GzipFile(sys::UniqueFd fd) : fd_(std::move(fd)), buffer_(kPiece, '\0') {}

  Status Deflate(std::string_view bytes, int flush) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());  // pieces of at most some hundred KiB
    while (true) {
      stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
      stream_.avail_out = static_cast<uInt>(buffer_.size());
      const int result = ::deflate(&stream_, flush);
      if (result == Z_STREAM_ERROR) return Internal("zlib refused to compress");
      const std::string_view out(buffer_.data(), buffer_.size() - stream_.avail_out);
      if (!out.empty()) {
        hash_.Update(out);
        size_ += out.size();
        RETURN_IF_ERROR(sys::WriteAll(fd_.get(), out).Annotate("spool a layer"));
      }
      if (flush == Z_FINISH ? result == Z_STREAM_END : stream_.avail_out != 0) return {};
    }
  }

  sys::UniqueFd fd_;
  std::string buffer_;
  z_stream stream_{};
  bool begun_ = false;
  Sha256 hash_;
  uint64_t size_ = 0;
};

// What stands for a layer in the archive.
struct LayerBlob {
  oci::Digest digest;
  uint64_t size = 0;
};

class Export {
 public:
  Export(store::Content& content, const store::LayerDriver& layers, const ExportOptions& options, ExportSink& sink)
      : content_(content), layers_(layers), options_(options), sink_(sink) {}

  Status Run(const std::vector<ExportImage>& images) {
    for (const ExportImage& image : images) {
      RETURN_IF_ERROR(Look(image).Annotate(fmt::format("image {}", NameOf(image))));
    }
    RETURN_IF_ERROR(sink_.Total(total_));
    for (auto& [diff_id, directory] : directories_) {
      RETURN_IF_ERROR(WriteLayer(diff_id, directory).Annotate(fmt::format("layer {}", diff_id.ToString())));
    }
    for (Parts& parts : parts_) RETURN_IF_ERROR(WriteImage(parts));
    return WriteDocuments();
  }

 private:
  struct Parts {
    const ExportImage* image;
    oci::Digest config_digest;
    std::string config;
    std::string manifest;  // as stored
    std::vector<oci::Digest> diff_ids;
  };

  static const std::string& NameOf(const ExportImage& image) {
    return image.names.empty() ? image.record.id : image.names.front();
  }

  Status GoOn() const { return options_.go_on ? options_.go_on() : Status(); }

  // Everything that can be wrong before the first byte is written.
  Status Look(const ExportImage& image) {
    const ImageRecord& record = image.record;
    if (!record.artifact_type.empty())
      return Unimplemented("it is an OCI artifact, which cannot be saved: copy it from its registry");
    Parts parts;
    parts.image = &image;
    ASSIGN_OR_RETURN(parts.config_digest, oci::Digest::Parse(record.ConfigDigest()));
    ASSIGN_OR_RETURN(parts.config, content_.Get(parts.config_digest));
    ASSIGN_OR_RETURN(oci::Digest manifest, oci::Digest::Parse(record.manifest_digest));
    ASSIGN_OR_RETURN(parts.manifest, content_.Get(manifest));
    ASSIGN_OR_RETURN(oci::ImageConfig config, oci::ParseImageConfig(parts.config));
    parts.diff_ids = config.diff_ids;
    if (config.diff_ids.size() != record.layers.size())
      return DataLoss("its config and its record differ in the number of layers");
    for (size_t i = 0; i < record.layers.size(); ++i) {
      RETURN_IF_ERROR(LookAt(config.diff_ids[i], record.layers[i])
                          .Annotate(fmt::format("layer {}", config.diff_ids[i].ToString())));
    }
    parts_.push_back(std::move(parts));
    return {};
  }

  Status LookAt(const oci::Digest& diff_id, const std::string& key) {
    if (directories_.count(diff_id) != 0) return {};
    ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(key));
    ASSIGN_OR_RETURN(std::string path, layers_.Path(digest));
    if (!path.ends_with("/fs")) return FailedPrecondition("it is kept in a form that cannot be saved");
    path.resize(path.size() - 3);
    Result<std::unique_ptr<LayerTar>> tar = LayerTar::Open(path, options_.go_on);
    if (!tar.ok()) {
      if (tar.code() != StatusCode::kFailedPrecondition) return tar.status();
      return tar.status().Annotate(
          "it cannot be saved with its id: remove the image and pull or load it again, or copy it from its registry");
    }
    total_ += (*tar)->size();
    directories_.emplace(diff_id, std::move(path));
    return {};
  }

  Status WriteLayer(const oci::Digest& diff_id, const std::string& directory) {
    ASSIGN_OR_RETURN(std::unique_ptr<LayerTar> tar, LayerTar::Open(directory, options_.go_on));
    FaultPoint("image.save.layer");
    if (!options_.gzip) {
      blobs_[diff_id] = {diff_id, tar->size()};
      RETURN_IF_ERROR(sink_.Begin(BlobPath(diff_id), tar->size()));
      return tar->Write(diff_id, [this](std::string_view bytes) { return sink_.Write(bytes); });
    }
    ASSIGN_OR_RETURN(std::unique_ptr<GzipFile> file, GzipFile::Create(options_.spool));
    RETURN_IF_ERROR(tar->Write(diff_id, [&](std::string_view bytes) { return file->Write(bytes); }));
    ASSIGN_OR_RETURN(oci::Digest digest, file->Finish());
    blobs_[diff_id] = {digest, file->size()};
    if (!written_.insert(digest).second) return {};
    RETURN_IF_ERROR(sink_.Begin(BlobPath(digest), file->size()));
    return file->CopyTo(sink_);
  }

  Status WriteFile(const std::string& path, std::string_view text) {
    RETURN_IF_ERROR(GoOn());
    RETURN_IF_ERROR(sink_.Begin(path, text.size()));
    return text.empty() ? Status() : sink_.Write(text);
  }

  Status WriteBlob(const oci::Digest& digest, std::string_view text) {
    return written_.insert(digest).second ? WriteFile(BlobPath(digest), text) : Status();
  }

  Status WriteImage(const Parts& parts) {
    RETURN_IF_ERROR(WriteBlob(parts.config_digest, parts.config));
    ASSIGN_OR_RETURN(oci::Manifest stored, oci::ParseManifest(parts.manifest));
    std::string manifest = parts.manifest;
    std::string media_type = std::string(
        oci::IsManifestMediaType(stored.media_type) ? std::string_view(stored.media_type) : oci::kMediaOciManifest);
    if (!Reproduced(stored, parts.diff_ids)) {
      manifest = NewManifest(parts);
      media_type = oci::kMediaOciManifest;
    }
    const oci::Digest digest = Sha256::Of(manifest);
    RETURN_IF_ERROR(WriteBlob(digest, manifest));
    const std::vector<std::string>& names = parts.image->names;
    for (size_t i = 0; i < std::max<size_t>(names.size(), 1); ++i) {
      boost::json::object entry{{"mediaType", media_type}, {"digest", digest.ToString()}, {"size", manifest.size()}};
      if (i < names.size()) {
        // The second is what skopeo and podman look at, who take the whole name there too.
        entry["annotations"] = boost::json::object{{"io.containerd.image.name", names[i]},
                                                   {"org.opencontainers.image.ref.name", names[i]}};
      }
      manifests_.push_back(std::move(entry));
    }
    boost::json::array layers;
    for (const oci::Digest& diff_id : parts.diff_ids) layers.emplace_back(BlobPath(blobs_.at(diff_id).digest));
    boost::json::value tags;
    if (!names.empty()) tags = boost::json::array(names.begin(), names.end());
    docker_.push_back(boost::json::object{
        {"Config", BlobPath(parts.config_digest)}, {"RepoTags", std::move(tags)}, {"Layers", std::move(layers)}});
    return {};
  }

  // The stored manifest names the very blobs that are written here, and says what they are.
  [[nodiscard]] bool Reproduced(const oci::Manifest& stored, const std::vector<oci::Digest>& diff_ids) const {
    if (options_.gzip || stored.layers.size() != diff_ids.size()) return false;
    for (size_t i = 0; i < diff_ids.size(); ++i) {
      const oci::Descriptor& layer = stored.layers[i];
      std::optional<oci::LayerKind> kind = oci::LayerKindOf(layer.media_type);
      if (layer.digest != diff_ids[i] || layer.size != blobs_.at(diff_ids[i]).size || !kind ||
          kind->compression != oci::LayerCompression::kNone)
        return false;
    }
    return true;
  }

  [[nodiscard]] std::string NewManifest(const Parts& parts) const {
    const std::string_view layer_type = options_.gzip ? oci::kMediaOciLayerGzip : oci::kMediaOciLayer;
    std::vector<oci::Descriptor> layers;
    for (const oci::Digest& diff_id : parts.diff_ids) {
      const LayerBlob& blob = blobs_.at(diff_id);
      layers.push_back({std::string(layer_type), blob.digest, blob.size, {}, {}, {}});
    }
    return oci::MakeManifest(oci::kMediaOciManifest,
                             {std::string(oci::kMediaOciConfig), parts.config_digest, parts.config.size(), {}, {}, {}},
                             layers);
  }

  Status WriteDocuments() {
    RETURN_IF_ERROR(WriteFile("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
    RETURN_IF_ERROR(WriteFile(
        "index.json", boost::json::serialize(boost::json::object{
                          {"schemaVersion", 2}, {"mediaType", oci::kMediaOciIndex}, {"manifests", manifests_}})));
    return options_.docker ? WriteFile("manifest.json", boost::json::serialize(docker_)) : Status();
  }

  store::Content& content_;
  const store::LayerDriver& layers_;
  const ExportOptions& options_;
  ExportSink& sink_;
  std::vector<Parts> parts_;
  std::map<oci::Digest, std::string> directories_;  // of the layers, by diff ID
  std::map<oci::Digest, LayerBlob> blobs_;          // the same, once written
  std::set<oci::Digest> written_;
  uint64_t total_ = 0;
  boost::json::array manifests_;
  boost::json::array docker_;
};

}  // namespace

Status ExportImages(store::Content& content, const store::LayerDriver& layers, const std::vector<ExportImage>& images,
                    const ExportOptions& options, ExportSink& sink) {
  return Export(content, layers, options, sink).Run(images);
}

}  // namespace davit::image
