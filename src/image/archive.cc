#include "image/archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <utility>

#include "base/strings.h"
#include "image/decompress.h"
#include "image/sha256.h"
#include "image/tar_reader.h"
#include "oci/json.h"
#include "sys/rooted.h"

namespace davit::image {
namespace {

constexpr size_t kMaxMembers = 100'000;
constexpr size_t kMaxImages = 1000;
constexpr size_t kMaxDocument = 4 << 20;
constexpr size_t kPiece = 256 << 10;
constexpr int kRegular = O_RDONLY | O_NONBLOCK | O_NOCTTY;

// "a/b" of "./a/b".
std::string Clean(std::string name) {
  while (name.starts_with("./")) name.erase(0, 2);
  while (name.ends_with('/')) name.pop_back();
  return name;
}

// A file from its beginning, and where the reader is in it. What the tar reader skips is not read.
class FileSource final : public ByteSource {
 public:
  explicit FileSource(int fd) : fd_(fd), buffer_(64 << 10, '\0') {}
  Result<std::string_view> Next() override {
    ssize_t n = ::pread(fd_, buffer_.data(), buffer_.size(), static_cast<off_t>(position_));
    if (n < 0) return ErrnoError(errno, "read the archive");
    position_ += static_cast<uint64_t>(n);
    return std::string_view(buffer_.data(), static_cast<size_t>(n));
  }
  bool Skip(uint64_t bytes) override {
    position_ += bytes;
    return true;
  }
  [[nodiscard]] uint64_t position() const { return position_; }

 private:
  int fd_;
  uint64_t position_ = 0;
  std::string buffer_;
};

// What a decompressor writes, into a file.
class FileSink final : public OutputSink {
 public:
  FileSink(int fd, uint64_t max) : fd_(fd), left_(max), buffer_(kPiece, '\0') {}
  Result<Space> GetSpace() override { return Space{buffer_.data(), buffer_.size()}; }
  Status Produced(size_t bytes) override {
    if (bytes > left_) return ResourceExhausted("the archive unpacks to more than image.max_image_bytes");
    left_ -= bytes;
    return sys::WriteAll(fd_, std::string_view(buffer_.data(), bytes));
  }

 private:
  int fd_;
  uint64_t left_;
  std::string buffer_;
};

Result<sys::UniqueFd> Unpacked(int fd, Compression compression, const std::string& spool, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(sys::UniqueFd out, sys::Open(spool, O_TMPFILE | O_RDWR, 0600));
  ASSIGN_OR_RETURN(std::unique_ptr<Decompressor> decompressor, Decompressor::Create(compression));
  FileSink sink(out.get(), max_bytes);
  FileSource source(fd);
  while (true) {
    ASSIGN_OR_RETURN(std::string_view piece, source.Next());
    if (piece.empty()) break;
    RETURN_IF_ERROR(decompressor->Write(piece, sink));
  }
  RETURN_IF_ERROR(decompressor->Finish());
  return out;
}

std::string NameOf(const std::map<std::string, std::string>& annotations) {
  for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
    auto found = annotations.find(key);
    // A bare tag ("latest") names no image.
    if (found != annotations.end() && found->second.find_first_of("/:") != std::string::npos) return found->second;
  }
  return {};
}

}  // namespace

class ArchiveSource final : public ImageSource {
 public:
  ArchiveSource(const Archive& archive, size_t image) : archive_(archive), image_(archive.images_[image]) {}

  Result<FetchedManifest> Manifest(const std::string& name) override {
    Result<oci::Digest> digest = oci::Digest::Parse(name);
    if (!digest.ok() || *digest == image_.top.digest) return image_.top;
    ASSIGN_OR_RETURN(std::string text, archive_.Document(archive_.MemberOf(*digest)));
    if (Sha256::Of(text) != *digest) return DataLoss(fmt::format("manifest {} has another digest", name));
    return FetchedManifest{std::move(text), "", *digest};
  }

  Result<std::string> SmallBlob(const oci::Digest& digest, uint64_t size, uint64_t max) override {
    if (size > max) return ResourceExhausted(fmt::format("{} has {} bytes", digest.ToString(), size));
    ASSIGN_OR_RETURN(std::string text, archive_.Document(archive_.MemberOf(digest)));
    if (text.size() != size || Sha256::Of(text) != digest)
      return DataLoss(fmt::format("blob {} has another digest or size", digest.ToString()));
    return text;
  }

  Status Blob(const oci::Digest& digest, uint64_t size, const std::function<Status(std::string_view)>& sink) override {
    ASSIGN_OR_RETURN(uint64_t there, archive_.SizeOf(archive_.MemberOf(digest)));
    if (there != size) {
      return DataLoss(
          fmt::format("blob {} has {} bytes in the archive, its descriptor says {}", digest.ToString(), there, size));
    }
    return archive_.Read(archive_.MemberOf(digest), sink);
  }

 private:
  const Archive& archive_;
  const Archive::Image& image_;
};

Result<std::unique_ptr<Archive>> Archive::Open(const std::string& path, const std::string& spool, uint64_t max_bytes) {
  std::unique_ptr<Archive> archive(new Archive());
  archive->path_ = path;
  ASSIGN_OR_RETURN(archive->fd_, sys::Open(path, kRegular));
  struct stat info {};
  if (::fstat(archive->fd_.get(), &info) != 0) return ErrnoError(errno, "stat " + path);
  archive->directory_ = S_ISDIR(info.st_mode);
  if (!archive->directory_ && !S_ISREG(info.st_mode))
    return InvalidArgument(path + " is neither a file nor a directory");
  if (!archive->directory_) {
    FileSource head(archive->fd_.get());
    ASSIGN_OR_RETURN(std::string_view first, head.Next());
    ASSIGN_OR_RETURN_WITH(Compression compression, DetectCompression(first), path);
    if (compression != Compression::kNone) {
      ASSIGN_OR_RETURN_WITH(archive->fd_, Unpacked(archive->fd_.get(), compression, spool, max_bytes), path);
    }
    RETURN_IF_ERROR(archive->Index().Annotate(path));
  }
  // Both may be there (docker save since 25): the names in manifest.json are whole ones.
  Result<std::string> docker = archive->Document("manifest.json");
  Result<std::string> layout = archive->Document("index.json");
  if (!layout.ok() && !docker.ok()) {
    return InvalidArgument(path + " is no archive of images: it has neither manifest.json nor index.json" +
                           (docker.code() == StatusCode::kNotFound ? "" : " (" + docker.status().message() + ")"));
  }
  RETURN_IF_ERROR((docker.ok() ? archive->ReadDockerManifest(*docker) : archive->ReadLayout(*layout)).Annotate(path));
  if (archive->images_.empty()) return InvalidArgument(path + " has no image in it");
  return archive;
}

Status Archive::Index() {
  FileSource source(fd_.get());
  TarLimits limits;
  limits.max_entries = kMaxMembers;
  TarReader tar(source, limits);
  while (true) {
    ASSIGN_OR_RETURN(std::optional<TarEntry> entry, tar.Next());
    if (!entry) return {};
    Member member;
    if (entry->type == TarType::kRegular && !entry->sparse) {
      member.offset = source.position() - tar.buffered();
      member.size = entry->size;
    } else if (entry->type == TarType::kSymlink || entry->type == TarType::kHardLink) {
      member.link = entry->link_name;
      if (entry->type == TarType::kHardLink) member.link = "/" + Clean(member.link);
    } else {
      continue;
    }
    members_[Clean(entry->name)] = std::move(member);
  }
}

// docker save writes a layer that comes again as a link to the first; one step, not a chain.
Result<Archive::Member> Archive::Find(const std::string& name) const {
  auto found = members_.find(name);
  if (found != members_.end() && !found->second.link.empty()) {
    std::vector<std::string> parts = Split(name, '/');
    parts.pop_back();
    if (found->second.link.starts_with('/')) parts.clear();
    for (const std::string& part : Split(found->second.link, '/')) {
      if (part.empty() || part == ".") continue;
      if (part != "..") {
        parts.push_back(part);
      } else if (!parts.empty()) {
        parts.pop_back();
      }
    }
    found = members_.find(Join(parts, "/"));
    if (found != members_.end() && !found->second.link.empty()) found = members_.end();
  }
  if (found == members_.end()) return NotFound(fmt::format("\"{}\" is not in the archive", Printable(name)));
  return found->second;
}

Result<uint64_t> Archive::SizeOf(const std::string& name) const {
  if (!directory_) {
    ASSIGN_OR_RETURN(Member member, Find(name));
    return member.size;
  }
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenInRoot(fd_.get(), name, kRegular));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return ErrnoError(errno, "stat " + name);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(fmt::format("\"{}\" is no file", Printable(name)));
  return static_cast<uint64_t>(info.st_size);
}

Status Archive::Read(const std::string& name, const std::function<Status(std::string_view)>& sink) const {
  sys::UniqueFd file;
  int fd = fd_.get();
  uint64_t offset = 0;
  ASSIGN_OR_RETURN(uint64_t left, SizeOf(name));
  if (directory_) {
    ASSIGN_OR_RETURN(file, sys::OpenInRoot(fd_.get(), name, kRegular));
    fd = file.get();
  } else {
    ASSIGN_OR_RETURN(Member member, Find(name));
    offset = member.offset;
  }
  std::string buffer(kPiece, '\0');
  while (left > 0) {
    ssize_t n = ::pread(fd, buffer.data(), std::min<uint64_t>(left, buffer.size()), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read " + path_);
    if (n == 0) return DataLoss(fmt::format("{} ends within \"{}\"", path_, Printable(name)));
    RETURN_IF_ERROR(sink(std::string_view(buffer.data(), static_cast<size_t>(n))));
    offset += static_cast<uint64_t>(n);
    left -= static_cast<uint64_t>(n);
  }
  return {};
}

Result<std::string> Archive::Document(const std::string& name) const {
  ASSIGN_OR_RETURN(uint64_t size, SizeOf(name));
  if (size > kMaxDocument) {
    return ResourceExhausted(fmt::format("\"{}\" has {} bytes, more than {}", Printable(name), size, kMaxDocument));
  }
  std::string text;
  RETURN_IF_ERROR(Read(name, [&](std::string_view piece) {
    text.append(piece);
    return Status();
  }));
  return text;
}

std::string Archive::MemberOf(const oci::Digest& digest) const {
  auto known = blob_names_.find(digest);
  if (known != blob_names_.end()) return known->second;
  return fmt::format("blobs/{}/{}", oci::AlgorithmName(digest.algorithm()), digest.hex());
}

// moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format".
Status Archive::ReadDockerManifest(const std::string& text) {
  ASSIGN_OR_RETURN(boost::json::value document, oci::ParseJson(text));
  oci::JsonNode root(document, "manifest.json");
  ASSIGN_OR_RETURN(std::vector<oci::JsonNode> images, root.Elements(kMaxImages));
  for (const oci::JsonNode& image : images) {
    ASSIGN_OR_RETURN(std::string config, image.Key("Config").String());
    ASSIGN_OR_RETURN(std::vector<std::string> names, image.Key("RepoTags").Strings());
    ASSIGN_OR_RETURN(std::vector<std::string> layers, image.Key("Layers").Strings(oci::kMaxLayers));
    RETURN_IF_ERROR(AddDockerImage(Clean(config), std::move(names), layers));
  }
  return {};
}

// Such an archive has no manifest: one is made here. Layers are named by what their bytes are.
Status Archive::AddDockerImage(const std::string& config, std::vector<std::string> names,
                               const std::vector<std::string>& layers) {
  auto digest_of = [&](const std::string& member) -> Result<oci::Digest> {
    for (const auto& [digest, name] : blob_names_) {
      if (name == member) return digest;  // of an image before
    }
    Sha256 hash;
    RETURN_IF_ERROR(Read(member, [&](std::string_view piece) {
      hash.Update(piece);
      return Status();
    }));
    oci::Digest digest = hash.Finish();
    blob_names_.emplace(digest, member);
    return digest;
  };
  auto describe = [&](const std::string& member, std::string_view media_type) -> Result<oci::Descriptor> {
    ASSIGN_OR_RETURN(oci::Digest digest, digest_of(member));
    ASSIGN_OR_RETURN(uint64_t size, SizeOf(member));
    return oci::Descriptor{std::string(media_type), digest, size, {}, {}, {}};
  };
  ASSIGN_OR_RETURN(oci::Descriptor config_blob, describe(config, oci::kMediaDockerConfig));
  // Its name is its digest, and the only word on it that such an archive has.
  const std::string file = config.substr(config.rfind('/') + 1);
  Result<oci::Digest> named = oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, file.substr(0, file.find('.')));
  if (named.ok() && config_blob.digest != *named) {
    return DataLoss(fmt::format("the config \"{}\" has another digest", Printable(config)));
  }
  std::vector<oci::Descriptor> layer_blobs;
  for (const std::string& layer : layers) {
    ASSIGN_OR_RETURN(oci::Descriptor blob, describe(Clean(layer), oci::kMediaDockerLayerGzip));
    layer_blobs.push_back(std::move(blob));
  }
  Image image;
  image.names = std::move(names);
  image.own_digests = false;
  image.top.media_type = oci::kMediaDockerManifest;
  image.top.text = oci::MakeManifest(oci::kMediaDockerManifest, config_blob, layer_blobs);
  image.top.digest = Sha256::Of(image.top.text);
  images_.push_back(std::move(image));
  return {};
}

// The entries of one name are platforms of one image, as some tools write an index that has been taken apart; those
// without a name are images of their own unless they tell platforms apart.
Status Archive::ReadLayout(const std::string& text) {
  ASSIGN_OR_RETURN(oci::Index index, oci::ParseIndex(text));
  std::vector<std::pair<std::string, std::vector<oci::Descriptor>>> groups;
  for (oci::Descriptor& entry : index.manifests) {
    if (entry.platform && entry.platform->os == "unknown") continue;  // an attestation
    const std::string name = NameOf(entry.annotations);
    auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return group.first == name && entry.platform && group.second.front().platform;
    });
    if (same == groups.end()) same = groups.insert(groups.end(), {name, {}});
    same->second.push_back(std::move(entry));
  }
  if (groups.size() > kMaxImages) return ResourceExhausted(fmt::format("index.json has {} images", groups.size()));
  for (auto& [name, entries] : groups) {
    Image image;
    if (!name.empty()) image.names = {name};
    if (entries.size() == 1) {
      image.top.media_type = entries[0].media_type;
      image.top.digest = entries[0].digest;
      ASSIGN_OR_RETURN(image.top.text, Document(MemberOf(entries[0].digest)));
      if (Sha256::Of(image.top.text) != image.top.digest) {
        return DataLoss(fmt::format("manifest {} has another digest", image.top.digest.ToString()));
      }
    } else {
      boost::json::array manifests;
      for (const oci::Descriptor& entry : entries) {
        manifests.push_back(
            boost::json::object{{"mediaType", entry.media_type},
                                {"digest", entry.digest.ToString()},
                                {"size", entry.size},
                                {"platform", boost::json::object{{"os", entry.platform->os},
                                                                 {"architecture", entry.platform->architecture},
                                                                 {"variant", entry.platform->variant}}}});
      }
      image.own_digests = false;
      image.top.media_type = oci::kMediaOciIndex;
      image.top.text = boost::json::serialize(boost::json::object{
          {"schemaVersion", 2}, {"mediaType", oci::kMediaOciIndex}, {"manifests", std::move(manifests)}});
      image.top.digest = Sha256::Of(image.top.text);
    }
    images_.push_back(std::move(image));
  }
  return {};
}

std::unique_ptr<ImageSource> Archive::Source(size_t image) const {
  return std::make_unique<ArchiveSource>(*this, image);
}

}  // namespace davit::image
