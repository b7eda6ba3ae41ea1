#include "image/sif_session.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/strings.h"
#include "image/curl_client.h"
#include "image/sha256.h"
#include "oci/image_spec.h"
#include "oci/json.h"
#include "sif/sif.h"
#include "sys/loop_mount.h"
#include "sys/mounts.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr size_t kMaxScripts = 100;  // of the environment
constexpr size_t kMaxVariables = 1000;
constexpr size_t kMaxLabelsShown = 1000;
constexpr int kMaxRedirects = 10;
constexpr std::string_view kOciConfig = "oci-config.json";  // how singularity names what a Docker image said
constexpr std::string_view kRun = "/.singularity.d/actions/run";
constexpr std::string_view kExec = "/.singularity.d/actions/exec";
constexpr std::string_view kRunscript = "/.singularity.d/runscript";

Result<std::string> ReadPart(int fd, uint64_t offset, size_t size) {
  std::string out(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd, out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read the SIF file");
    if (n == 0) return DataLoss("the SIF file ends too early");
    done += static_cast<size_t>(n);
  }
  return out;
}

// Reads all of it; `take` gets each piece.
Result<oci::Digest> HashFile(int fd, const std::string& path, PipelineCounters& counters,
                             const std::function<Status(std::string_view)>& take = {}) {
  Sha256 hash;
  std::string piece(kPiece, '\0');
  while (true) {
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read " + path);
    if (n == 0) break;
    const std::string_view got(piece.data(), static_cast<size_t>(n));
    if (take) RETURN_IF_ERROR(take(got));
    hash.Update(got);
    counters.bytes_done += got.size();
  }
  oci::Digest digest = hash.Finish();
  if (digest.empty()) return Internal("SHA-256 failed");
  return digest;
}

// The root filesystem, for as long as this lives.
class Mounted {
 public:
  static Result<std::unique_ptr<Mounted>> Mount(const sys::LoopMount& mount, const std::string& directory) {
    std::unique_ptr<Mounted> mounted(new Mounted(directory + "/mount"));
    if (::mkdir(mounted->target_.c_str(), 0700) != 0) return ErrnoError(errno, "create " + mounted->target_);
    mounted->made_ = true;
    RETURN_IF_ERROR(sys::MountLoop(mount, mounted->target_));
    ASSIGN_OR_RETURN(mounted->root_, sys::Open(mounted->target_, O_PATH | O_DIRECTORY));
    return mounted;
  }
  ~Mounted() {
    root_.reset();
    if (!made_) return;
    IgnoreError(sys::Unmount(target_));
    ::rmdir(target_.c_str());
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  [[nodiscard]] int root() const { return root_.get(); }
  [[nodiscard]] bool HasProgram(std::string_view path) const {
    Result<sys::UniqueFd> fd = sys::OpenInRoot(root(), std::string(path), O_PATH);
    struct stat info {};
    return fd.ok() && ::fstat(fd->get(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
  }
  // In the order in which a shell's "*.sh" has them.
  [[nodiscard]] Result<std::vector<std::string>> EnvironmentScripts() const {
    constexpr const char* kDirectory = "/.singularity.d/env";
    Result<sys::UniqueFd> fd = sys::OpenInRoot(root(), kDirectory, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) return std::vector<std::string>();
    DIR* directory = ::fdopendir(fd->get());
    if (directory == nullptr) return ErrnoError(errno, kDirectory);
    (void)fd->release();
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(directory)) {
      std::string name = entry->d_name;
      if (name.ends_with(".sh") && !name.starts_with('.')) names.push_back(std::string(kDirectory) + "/" + name);
      if (names.size() > kMaxScripts) break;
    }
    ::closedir(directory);
    if (names.size() > kMaxScripts) {
      return ResourceExhausted(fmt::format("{} has more than {} scripts", kDirectory, kMaxScripts));
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  explicit Mounted(std::string target) : target_(std::move(target)) {}
  const std::string target_;
  bool made_ = false;
  sys::UniqueFd root_;
};

void SetVariable(std::vector<std::string>& env, const std::string& assignment) {
  const std::string name = assignment.substr(0, assignment.find('=') + 1);
  std::erase_if(env, [&](const std::string& other) { return other.starts_with(name); });
  if (env.size() < kMaxVariables) env.push_back(assignment);
}

boost::json::array Strings(const std::vector<std::string>& from) {
  boost::json::array out;
  for (const std::string& text : from) out.emplace_back(text);
  return out;
}

// What an image that was not made from a Docker image says, in an image config's words.
Result<boost::json::object> NativeConfig(const sif::Image& image, const sif::ReadAt& read, const Mounted& mounted,
                                         SifEvent& event) {
  std::vector<std::string> env;
  std::map<std::string, std::string> labels;
  for (const sif::Object& object : image.objects) {
    if (object.type != sif::ObjectType::kEnvironment && object.type != sif::ObjectType::kLabels) continue;
    ASSIGN_OR_RETURN(std::string text, sif::ReadObject(read, object));
    if (object.type == sif::ObjectType::kEnvironment) {
      for (const std::string& assignment : sif::PlainAssignments(text)) SetVariable(env, assignment);
    } else if (Result<std::map<std::string, std::string>> parsed = sif::ParseLabels(text); parsed.ok()) {
      labels = std::move(*parsed);
    }
  }
  ASSIGN_OR_RETURN(std::vector<std::string> scripts, mounted.EnvironmentScripts());
  for (const std::string& script : scripts) {
    Result<std::string> text = sys::ReadFileInRoot(mounted.root(), script, sif::kMaxObjectText);
    if (!text.ok()) continue;  // a script that nobody can read sets nothing
    for (const std::string& assignment : sif::PlainAssignments(*text)) SetVariable(env, assignment);
  }
  if (labels.empty()) {
    Result<std::string> text = sys::ReadFileInRoot(mounted.root(), "/.singularity.d/labels.json", sif::kMaxObjectText);
    Result<std::map<std::string, std::string>> parsed = text.ok() ? sif::ParseLabels(*text) : labels;
    if (parsed.ok()) labels = std::move(*parsed);
  }
  boost::json::object config;
  if (!env.empty()) config["Env"] = Strings(env);
  if (mounted.HasProgram(kRun)) {
    config["Entrypoint"] = Strings({std::string(kRun)});
  } else if (mounted.HasProgram(kRunscript)) {
    config["Entrypoint"] = Strings({std::string(kRunscript)});
  }
  if (mounted.HasProgram(kExec)) event.command_prefix = {std::string(kExec)};
  boost::json::object shown;
  for (const auto& [name, value] : labels) {
    if (shown.size() < kMaxLabelsShown) shown[name] = value;
  }
  if (!shown.empty()) config["Labels"] = std::move(shown);
  return config;
}

Result<std::optional<boost::json::object>> DockerConfig(const sif::Image& image, const sif::ReadAt& read) {
  for (const sif::Object& object : image.objects) {
    if (object.type != sif::ObjectType::kGenericJson || object.name != kOciConfig) continue;
    ASSIGN_OR_RETURN(std::string text, sif::ReadObject(read, object));
    ASSIGN_OR_RETURN_WITH(boost::json::value json, oci::ParseJson(text), std::string(kOciConfig));
    if (!json.is_object()) return InvalidArgument(fmt::format("{} is no JSON object", kOciConfig));
    return std::optional<boost::json::object>(json.as_object());
  }
  return std::optional<boost::json::object>();
}

Status CheckArchitecture(const sif::Image& image, const sif::Object& root, const PullJob& job) {
  std::string have = root.partition->architecture.empty() ? image.architecture : root.partition->architecture;
  const std::string want =
      job.platform.architecture.empty() ? oci::HostPlatform().architecture : job.platform.architecture;
  if (have.empty() || have == want) return {};
  return NotFound(fmt::format("the SIF file is for {}, not for {}", Printable(have), want));
}

Status Describe(int fd, const std::string& name, const PullJob& job, SifEvent& event) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoError(errno, "stat " + name);
  event.file_size = static_cast<uint64_t>(info.st_size);
  const sif::ReadAt read = [fd](uint64_t offset, size_t size) { return ReadPart(fd, offset, size); };
  ASSIGN_OR_RETURN(sif::Image image, sif::Parse(read, event.file_size));
  ASSIGN_OR_RETURN(sif::Object root, sif::RootPartition(image));
  RETURN_IF_ERROR(CheckArchitecture(image, root, job));
  if (root.size < sif::kSquashfsSuperblockBytes) return DataLoss("the root partition is too small for a squashfs");
  ASSIGN_OR_RETURN(std::string superblock, read(root.offset, sif::kSquashfsSuperblockBytes));
  ASSIGN_OR_RETURN(sif::Squashfs squashfs, sif::ParseSquashfs(superblock, root.size));
  if (squashfs.inodes > job.limits.max_layer_entries) {
    return ResourceExhausted(fmt::format("the squashfs has {} inodes, more than the {} of image.max_entries",
                                         squashfs.inodes, job.limits.max_layer_entries));
  }
  event.offset = root.offset;
  event.size = root.size;
  event.inodes = squashfs.inodes;
  ASSIGN_OR_RETURN(std::unique_ptr<Mounted> mounted,
                   Mounted::Mount({fd, name, root.offset, root.size, "squashfs"}, job.sif.directory));
  ASSIGN_OR_RETURN(std::optional<boost::json::object> config, DockerConfig(image, read));
  if (!config) {
    ASSIGN_OR_RETURN(config, NativeConfig(image, read, *mounted, event));
  }
  boost::json::object document;
  document["architecture"] = oci::HostPlatform().architecture;
  document["os"] = "linux";
  if (image.created > 0 && image.created < int64_t{1} << 36) {
    const time_t seconds = image.created;
    tm utc{};
    if (::gmtime_r(&seconds, &utc) != nullptr) {
      document["created"] = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                                        utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    }
  }
  document["config"] = std::move(*config);
  boost::json::object rootfs;
  rootfs["type"] = "layers";
  rootfs["diff_ids"] = Strings({event.digest});
  document["rootfs"] = std::move(rootfs);
  event.config = oci::WriteJson(document);
  return oci::ParseImageConfig(event.config).status().Annotate("the SIF file's config");
}

// One library image: what it is, and its bytes.
class Library {
 public:
  Library(const PullJob& job, PipelineCounters& counters, std::unique_ptr<CurlClient> client, Origin origin)
      : job_(job), counters_(counters), client_(std::move(client)), origin_(std::move(origin)) {}

  static Result<std::unique_ptr<Library>> Create(const PullJob& job, PipelineCounters& counters) {
    ASSIGN_OR_RETURN(Origin origin, OriginOf(job.sif.url));
    ASSIGN_OR_RETURN(std::unique_ptr<CurlClient> client,
                     CurlClient::Create({job.limits.connect_timeout_seconds, job.limits.stall_timeout_seconds,
                                         job.limits.min_bytes_per_second}));
    return std::make_unique<Library>(job, counters, std::move(client), std::move(origin));
  }

  struct Found {
    std::string hash;  // "sha256:…"; empty: the library does not say
    std::optional<uint64_t> size;
  };
  Result<Found> Look() {
    HttpRequest request;
    request.url = Url("/v1/images/");
    request.max_body = size_t{1} << 20;
    ASSIGN_OR_RETURN(HttpResponse answer, Perform(request, {}));
    RETURN_IF_ERROR(Check(answer));
    ASSIGN_OR_RETURN_WITH(boost::json::value json, oci::ParseJson(answer.body), "answer of the library");
    const oci::JsonNode document(json, "answer of the library");
    const oci::JsonNode data = document.Key("data");
    Found found;
    ASSIGN_OR_RETURN(std::string hash, data.Key("hash").String());
    constexpr std::string_view kSha256 = "sha256.";
    if (hash.starts_with(kSha256)) {
      ASSIGN_OR_RETURN_WITH(oci::Digest digest,
                            oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, hash.substr(kSha256.size())),
                            "hash in the library's answer");
      found.hash = digest.ToString();
    } else if (!hash.starts_with("sif.")) {
      return Unimplemented(fmt::format("the library knows the image by \"{}\", no sha256", Printable(hash)));
    }
    if (data.Key("size").present()) {
      ASSIGN_OR_RETURN(found.size, data.Key("size").Uint64());
    }
    return found;
  }

  // The digest of what was written.
  Result<oci::Digest> Download(int fd, std::optional<uint64_t> size) {
    fd_ = fd;
    RETURN_IF_ERROR(CheckRoom(size));
    for (uint32_t attempt = 0;; ++attempt) {
      Status got = DownloadOnce(size);
      if (got.ok()) break;
      if (!again_ || attempt >= job_.limits.retries) return got;
      std::this_thread::sleep_for(std::chrono::milliseconds(200) * (1 << std::min(attempt, 5U)));
    }
    if (size && *size != written_) {
      return DataLoss(fmt::format("the library said {} bytes and sent {}", *size, written_));
    }
    return hash_->Finish();
  }

 private:
  [[nodiscard]] std::string Url(std::string_view what) const {
    return fmt::format("{}{}{}?arch={}", job_.sif.url, what, job_.sif.image, oci::HostPlatform().architecture);
  }

  // Follows redirects; the token goes to the library's own origin only.
  Result<HttpResponse> Perform(HttpRequest request, const BodySink& sink) {
    const Credentials& credentials = job_.sif.credentials;
    const std::string& token = credentials.registry_token.empty() ? credentials.password : credentials.registry_token;
    for (int i = 0; i <= kMaxRedirects; ++i) {
      ASSIGN_OR_RETURN(Origin origin, OriginOf(request.url));
      if (origin_.scheme == "https" && origin.scheme != "https") {
        return PermissionDenied("the library sends the pull from https to http, to " + Printable(origin.host));
      }
      HttpRequest one = request;
      one.tls = TlsFor(job_.hosts, origin.host);
      if (origin == origin_ && !token.empty()) one.headers.push_back("Authorization: BEARER " + token);
      ASSIGN_OR_RETURN(HttpResponse answer, client_->Perform(one, sink));
      const bool moved = answer.status == 301 || answer.status == 302 || answer.status == 303 || answer.status == 307 ||
                         answer.status == 308;
      if (!moved || answer.redirect_url.empty()) return answer;
      request.url = answer.redirect_url;
    }
    return Unavailable(fmt::format("the library redirects more than {} times", kMaxRedirects));
  }

  [[nodiscard]] Status Check(const HttpResponse& answer) const {
    if (answer.status >= 200 && answer.status < 300) return {};
    std::string said;
    if (Result<boost::json::value> json = oci::ParseJson(answer.body); json.ok()) {
      Result<std::string> message = oci::JsonNode(*json, "error").Key("error").Key("message").String();
      if (message.ok()) said = ": " + Printable(*message, 200);
    }
    const std::string what = fmt::format("library {} answers {} for {}{}", origin_.host, answer.status,
                                         Printable(job_.sif.image, 300), said);
    switch (answer.status) {
      case 401:
        return Unauthenticated(what + " (it wants a token: the password of the pull secret)");
      case 403:
        return PermissionDenied(what);
      case 404:
        return NotFound(what);
      default:
        return Unavailable(what);
    }
  }

  Status CheckRoom(std::optional<uint64_t> size) const {
    if (size && *size > job_.limits.max_layer_bytes) {
      return ResourceExhausted(
          fmt::format("{} bytes are more than the {} of image.max_layer_bytes", *size, job_.limits.max_layer_bytes));
    }
    struct statvfs info {};
    if (::fstatvfs(fd_, &info) != 0) return ErrnoError(errno, "statvfs");
    const uint64_t total = uint64_t{info.f_blocks} * info.f_frsize, free = uint64_t{info.f_bavail} * info.f_frsize;
    const uint64_t keep = std::min<uint64_t>(job_.limits.min_free_bytes, total / 20);
    if (free >= keep + size.value_or(0)) return {};
    return ResourceExhausted(fmt::format("no space left: {} are free, {} are kept, the file has {}", HumanBytes(free),
                                         HumanBytes(keep), HumanBytes(size.value_or(0))));
  }

  Status Restart() {
    if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) return ErrnoError(errno, "truncate the download");
    counters_.bytes_done -= written_;
    written_ = 0;
    hash_ = std::make_unique<Sha256>();
    return {};
  }

  // Goes on where the last one broke off, where the library can.
  Status DownloadOnce(std::optional<uint64_t> size) {
    again_ = false;
    if (!hash_) hash_ = std::make_unique<Sha256>();
    HttpRequest request;
    request.url = Url("/v1/imagefile/");
    const uint64_t from = written_;
    if (from > 0) request.headers.push_back(fmt::format("Range: bytes={}-", from));
    bool checked = false;
    Result<HttpResponse> answer = Perform(request, [&](const HttpResponse& head, std::string_view piece) -> Status {
      if (!checked && from > 0) {
        const bool resumed =
            head.status == 206 && head.Header("content-range").starts_with(fmt::format("bytes {}-", from));
        if (!resumed) RETURN_IF_ERROR(Restart());
      }
      checked = true;
      if (written_ + piece.size() > std::min(job_.limits.max_layer_bytes, size.value_or(UINT64_MAX))) {
        return ResourceExhausted(size ? fmt::format("the library said {} bytes and sends more", *size)
                                      : "it is over image.max_layer_bytes");
      }
      RETURN_IF_ERROR(sys::WriteAll(fd_, piece));
      hash_->Update(piece);
      written_ += piece.size();
      counters_.bytes_done += piece.size();
      return {};
    });
    if (!answer.ok()) {
      again_ = client_->transient();
      return answer.status();
    }
    again_ = answer->status >= 500 || answer->status == 429;
    RETURN_IF_ERROR(Check(*answer));
    if (size && written_ < *size) {
      again_ = true;
      return Unavailable(fmt::format("the library sent {} of {} bytes", written_, *size));
    }
    return {};
  }

  const PullJob& job_;
  PipelineCounters& counters_;
  std::unique_ptr<CurlClient> client_;
  const Origin origin_;
  int fd_ = -1;  // the download's; not owned
  std::unique_ptr<Sha256> hash_;
  uint64_t written_ = 0;
  bool again_ = false;  // about the last try
};

// The copy is what is hashed and read, whatever becomes of the file meanwhile.
Result<oci::Digest> CopyFile(int from, int to, const PullJob& job, PipelineCounters& counters) {
  uint64_t written = 0;
  return HashFile(from, job.sif.path, counters, [&](std::string_view piece) -> Status {
    written += piece.size();
    if (written > job.limits.max_layer_bytes) return ResourceExhausted("it is over image.max_layer_bytes");
    return sys::WriteAll(to, piece);
  });
}

Result<SifEvent> TakeIntoStore(const PullJob& job, PipelineCounters& counters) {
  const std::string path = job.sif.directory + "/image.sif";
  SifEvent event;
  if (job.sif.kind == "link") {
    if (::linkat(AT_FDCWD, job.sif.path.c_str(), AT_FDCWD, path.c_str(), 0) != 0) {
      return ErrnoError(errno, fmt::format("link {} to {}", job.sif.path, path));
    }
    ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    ASSIGN_OR_RETURN(oci::Digest digest, HashFile(fd.get(), path, counters));
    event.digest = digest.ToString();
  } else {
    ASSIGN_OR_RETURN(sys::UniqueFd from, sys::Open(job.sif.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    ASSIGN_OR_RETURN(sys::UniqueFd to, sys::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    ASSIGN_OR_RETURN(oci::Digest digest, CopyFile(from.get(), to.get(), job, counters));
    event.digest = digest.ToString();
  }
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  RETURN_IF_ERROR(Describe(fd.get(), job.sif.path, job, event));
  return event;
}

Result<SifEvent> FetchFromLibrary(const PullJob& job, PipelineCounters& counters) {
  ASSIGN_OR_RETURN(std::unique_ptr<Library> library, Library::Create(job, counters));
  ASSIGN_OR_RETURN(Library::Found found, library->Look());
  SifEvent event;
  event.digest = found.hash;
  const std::vector<std::string>& present = job.sif.present;
  if (!found.hash.empty() && std::find(present.begin(), present.end(), found.hash) != present.end()) {
    event.present = true;
    return event;
  }
  const std::string path = job.sif.directory + "/image.sif";
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  ASSIGN_OR_RETURN(oci::Digest digest, library->Download(fd.get(), found.size));
  if (digest.empty()) return Internal("SHA-256 failed");
  if (!found.hash.empty() && digest.ToString() != found.hash) {
    return DataLoss(fmt::format("the library said {}, the file that it sent has {}", found.hash, digest.ToString()));
  }
  event.digest = digest.ToString();
  // The loop device of a file that is open for writing would be one too many to think about.
  ASSIGN_OR_RETURN(fd, sys::Open(path, O_RDONLY | O_NOFOLLOW));
  RETURN_IF_ERROR(Describe(fd.get(), "the file from the library", job, event));
  return event;
}

Result<SifEvent> ReadLocalFile(const PullJob& job, PipelineCounters& counters) {
  const std::string& path = job.sif.path;
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, "stat " + path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(path + " is no regular file");
  // Before gigabytes are hashed.
  std::string head(sif::kHeaderBytes, '\0');
  const ssize_t n = ::pread(fd.get(), head.data(), head.size(), 0);
  head.resize(n < 0 ? 0 : static_cast<size_t>(n));
  if (!sif::LooksLikeSif(head)) return InvalidArgument(path + " is no SIF file");
  SifEvent event;
  ASSIGN_OR_RETURN(oci::Digest digest, HashFile(fd.get(), path, counters));
  event.digest = digest.ToString();
  RETURN_IF_ERROR(Describe(fd.get(), path, job, event).Annotate(path));
  return event;
}

}  // namespace

Result<SifEvent> FetchSif(const PullJob& job, PipelineCounters& counters) {
  if (job.sif.kind == "file") return ReadLocalFile(job, counters);
  if (job.sif.kind == "copy" || job.sif.kind == "link") return TakeIntoStore(job, counters);
  if (job.sif.kind == "library") return FetchFromLibrary(job, counters);
  return Unimplemented(fmt::format("SIF files of kind \"{}\"", Printable(job.sif.kind)));
}

}  // namespace davit::image
