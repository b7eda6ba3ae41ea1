#include "image/pull_session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/strings.h"
#include "http/base64.h"
#include "image/archive.h"
#include "image/artifact.h"
#include "image/artifact_writer.h"
#include "image/layer_journal.h"
#include "image/layer_pipeline.h"
#include "image/out_of_memory.h"
#include "image/pull_messages.h"
#include "image/registry.h"
#include "image/rootfs_archive.h"
#include "image/sha256.h"
#include "image/sif_session.h"
#include "image/signature_fetch.h"
#include "sched/start_thread.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;  // oci::ParseImageConfig's cap
constexpr size_t kMaxPathsSent = 100'000;      // of a kind; with names: at most some MB of the event
constexpr size_t kMaxPathBytes = 8 << 20;
constexpr int kExitOrphaned = 3;
// What is sent when there is no memory to make an event.
constexpr std::string_view kNoMemory =
    R"({"kind":"error","code":"RESOURCE_EXHAUSTED","message":"davit-pull is out of memory"})"
    "\n";

// Lines from a pipe, at most `max` bytes each. Empty optional at the end of file.
class LineReader {
 public:
  LineReader(int fd, size_t max) : fd_(fd), max_(max) {}
  Result<std::optional<std::string>> Next() {
    while (true) {
      if (size_t end = buffer_.find('\n'); end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return std::optional<std::string>(std::move(line));
      }
      if (buffer_.size() > max_) return ResourceExhausted(fmt::format("line of more than {} bytes", max_));
      char piece[16384];
      ssize_t n = ::read(fd_, piece, sizeof piece);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read the job pipe");
      if (n == 0) return std::optional<std::string>();
      buffer_.append(piece, static_cast<size_t>(n));
    }
  }

 private:
  int fd_;
  size_t max_;
  std::string buffer_;
};

// What the registry said the image is.
struct ResolvedImage {
  ResolvedEvent event;
  std::map<std::string, oci::Descriptor> blobs;  // by diff ID
  std::map<std::string, ArtifactFile> files;     // of an artifact, by key
  std::vector<std::string> indexes;  // texts, where the name is one's: it, and those within it that were chosen
};

constexpr size_t kMaxIndexes = 4;  // one in the other

Status CheckSha256(const oci::Digest& digest, std::string_view what) {
  if (digest.algorithm() == oci::DigestAlgorithm::kSha256) return {};
  return Unimplemented(fmt::format("{} {}: only sha256 is supported", what, digest.ToString()));
}

oci::Platform WantedPlatform(const Platform& asked) {
  oci::Platform wanted = oci::HostPlatform();
  if (!asked.os.empty()) wanted.os = asked.os;
  if (!asked.architecture.empty()) {
    wanted.architecture = asked.architecture;
    wanted.variant.clear();
  }
  if (!asked.variant.empty()) wanted.variant = asked.variant;
  return oci::NormalizePlatform(wanted);
}

Status ResolveArtifact(const oci::Manifest& manifest, ResolvedImage& out) {
  out.event.artifact = true;
  out.event.config_digest = manifest.config.digest.ToString();
  ASSIGN_OR_RETURN(std::vector<ArtifactFile> files, ArtifactFiles(manifest));
  for (ArtifactFile& file : files) {
    RETURN_IF_ERROR(CheckSha256(file.blob.digest, "blob"));
    std::string key = file.key.ToString();
    out.event.layers.push_back({key, file.blob.digest.ToString(), file.blob.size});
    out.files.emplace(std::move(key), std::move(file));
  }
  return {};
}

Result<ResolvedImage> Resolve(ImageSource& source, const std::string& name, const Platform& platform) {
  ResolvedImage out;
  ASSIGN_OR_RETURN(FetchedManifest fetched, source.Manifest(name));
  out.event.top_digest = fetched.digest.ToString();
  ASSIGN_OR_RETURN(oci::ManifestKind kind, oci::DetectManifestKind(fetched.text, fetched.media_type));
  while (kind == oci::ManifestKind::kIndex) {
    if (out.indexes.size() == kMaxIndexes) {
      return ResourceExhausted(fmt::format("more than {} indexes, one in the other", kMaxIndexes));
    }
    ASSIGN_OR_RETURN(oci::Index index, oci::ParseIndex(fetched.text));
    out.indexes.push_back(std::move(fetched.text));
    ASSIGN_OR_RETURN(oci::Descriptor chosen, oci::SelectPlatform(index, WantedPlatform(platform)));
    RETURN_IF_ERROR(CheckSha256(chosen.digest, "manifest"));
    ASSIGN_OR_RETURN(fetched, source.Manifest(chosen.digest.ToString()));
    ASSIGN_OR_RETURN(kind, oci::DetectManifestKind(fetched.text, chosen.media_type));
  }
  ASSIGN_OR_RETURN(oci::Manifest manifest, oci::ParseManifest(fetched.text));
  if (IsArtifact(manifest)) {
    RETURN_IF_ERROR(ResolveArtifact(manifest, out));
    out.event.manifest = std::move(fetched.text);
    out.event.manifest_digest = fetched.digest.ToString();
    return out;
  }
  RETURN_IF_ERROR(CheckSha256(manifest.config.digest, "config"));
  ASSIGN_OR_RETURN_WITH(out.event.config,
                        source.SmallBlob(manifest.config.digest, manifest.config.size, kMaxConfigBytes),
                        "image config");
  ASSIGN_OR_RETURN(oci::ImageConfig config, oci::ParseImageConfig(out.event.config));
  if (config.diff_ids.size() != manifest.layers.size()) {
    return InvalidArgument(fmt::format("the manifest has {} layers, the image config {} diff IDs",
                                       manifest.layers.size(), config.diff_ids.size()));
  }
  out.event.manifest = std::move(fetched.text);
  out.event.manifest_digest = fetched.digest.ToString();
  out.event.config_digest = manifest.config.digest.ToString();
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    const oci::Descriptor& blob = manifest.layers[i];
    RETURN_IF_ERROR(CheckSha256(blob.digest, "layer"));
    RETURN_IF_ERROR(CheckSha256(config.diff_ids[i], "diff ID"));
    std::string diff_id = config.diff_ids[i].ToString();
    out.event.layers.push_back({diff_id, blob.digest.ToString(), blob.size});
    out.blobs.emplace(std::move(diff_id), blob);
  }
  return out;
}

class Session {
 public:
  Session(int in_fd, int out_fd) : lines_(in_fd, kMaxPullJobBytes), out_fd_(out_fd) {}

  Status Run() {
    Status status = OutOfMemoryAsStatus([this] { return Work(); });
    if (status.ok()) return status;
    if (!Send(ErrorEventOf(status)).ok()) Write(kNoMemory);
    return status;
  }

 private:
  Status Work() {
    ASSIGN_OR_RETURN(std::optional<std::string> line, lines_.Next());
    if (!line) return Cancelled("no job on stdin");
    ASSIGN_OR_RETURN(job_, DecodeJob(*line));
    line.reset();
    Reference reference;
    if (job_.archive.empty() && job_.sif.kind.empty()) {
      ASSIGN_OR_RETURN(reference, Reference::Parse(job_.reference));
      if (!reference.digest().empty()) {
        ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(reference.digest()));
        RETURN_IF_ERROR(CheckSha256(digest, "manifest"));
      }
      ASSIGN_OR_RETURN(registry_, Registry::Create(job_.endpoints, job_.hosts, job_.limits));
      registry_->make_client = [this] { return MakeClient(); };
      registry_->ask_credentials = [this](size_t endpoint) { return AskCredentials(static_cast<uint32_t>(endpoint)); };
      registry_->on_attempt = [this](size_t number, const std::string& name, const std::string& asked_for,
                                     const Status& verdict) {
        IgnoreError(Send(
            AttemptEvent{static_cast<uint32_t>(number), name, asked_for, verdict.ok() ? "OK" : verdict.message()}));
      };
    }
    // From here on somebody watches stdin: davitd can die at any time.
    ASSIGN_OR_RETURN(std::thread commands,
                     sched::StartThread([this] { Fail(OutOfMemoryAsStatus([this] { return ReadCommands(); })); }));
    commands.detach();
    ASSIGN_OR_RETURN(std::thread progress, sched::StartThread([this] { ReportProgress(); }));
    progress.detach();
    if (!job_.sif.kind.empty()) {
      ASSIGN_OR_RETURN(SifEvent file, FetchSif(job_, counters_));
      IgnoreError(SendProgress());
      RETURN_IF_ERROR(Send(file));
      return Send(DoneEvent{1});
    }
    if (!job_.import_config.empty()) {
      ASSIGN_OR_RETURN(rootfs_, RootfsArchive::Open(job_.archive, job_.import_config, job_.limits.max_layer_bytes));
    } else if (!job_.archive.empty()) {
      ASSIGN_OR_RETURN(archive_, Archive::Open(job_.archive, job_.spool, job_.limits.max_image_bytes));
      if (job_.archive_image >= archive_->images().size()) {
        return NotFound(fmt::format("{} has {} images", job_.archive, archive_->images().size()));
      }
    }
    ASSIGN_OR_RETURN(std::unique_ptr<ImageSource> source, MakeSource());
    ASSIGN_OR_RETURN(resolved_, Resolve(*source, registry_ ? reference.ManifestName() : "", job_.platform));
    source.reset();
    if (rootfs_) {
      resolved_.event.own_digests = false;
      resolved_.event.archive_images = 1;
    } else if (archive_) {
      const Archive::Image& image = archive_->images()[job_.archive_image];
      resolved_.event.names = image.names;
      resolved_.event.own_digests = image.own_digests;
      resolved_.event.archive_images = static_cast<uint32_t>(archive_->images().size());
    } else {
      resolved_.event.endpoint = registry_->CurrentEndpoint();
      RETURN_IF_ERROR(FetchSignatures().Annotate("collect signatures"));
    }
    RETURN_IF_ERROR(Send(resolved_.event));
    return RunLayers();
  }

  // What the policy wants to see of the image that was resolved.
  Status FetchSignatures() {
    const SignatureWants& wants = job_.signatures;
    if (!wants.openpgp && !wants.sigstore) return {};
    ResolvedEvent& event = resolved_.event;
    SignatureSet signatures;
    for (size_t i = 0; i < resolved_.indexes.size(); ++i) {
      std::string text = http::Base64Encode(resolved_.indexes[i]);
      if (i == 0) {
        signatures.index = std::move(text);
      } else {
        signatures.inner.push_back(std::move(text));
      }
    }
    signatures.top_digest = event.top_digest;
    signatures.manifest_digest = event.manifest_digest;
    ASSIGN_OR_RETURN(oci::Digest manifest, oci::Digest::Parse(event.manifest_digest));
    std::vector<oci::Digest> subjects = {manifest};
    if (event.top_digest != event.manifest_digest) {
      ASSIGN_OR_RETURN(oci::Digest top, oci::Digest::Parse(event.top_digest));
      subjects.push_back(top);
    }
    ASSIGN_OR_RETURN(std::unique_ptr<CurlClient> client, MakeClient());
    RETURN_IF_ERROR(CollectSignatures(*registry_, *client, wants, subjects, signatures));
    event.signatures = EncodeSignatureSet(signatures);
    if (event.signatures.size() <= kMaxSignatureSetBytes) return {};
    return ResourceExhausted(fmt::format("the signatures take more than {} bytes", kMaxSignatureSetBytes));
  }

  Result<std::unique_ptr<CurlClient>> MakeClient() {
    return CurlClient::Create(
        {job_.limits.connect_timeout_seconds, job_.limits.stall_timeout_seconds, job_.limits.min_bytes_per_second});
  }

  // For one thread.
  Result<std::unique_ptr<ImageSource>> MakeSource() {
    if (rootfs_) return rootfs_->Source();
    if (archive_) return archive_->Source(job_.archive_image);
    ASSIGN_OR_RETURN(std::unique_ptr<CurlClient> client, MakeClient());
    return std::unique_ptr<ImageSource>(std::make_unique<RegistrySource>(*registry_, std::move(client)));
  }

  [[nodiscard]] uint32_t Retries() const { return registry_ ? registry_->retries() : 0; }

  // Starts a worker for each fetch command up to the limit; ends after the finish command or an error.
  Status RunLayers() {
    const size_t max_workers = std::max(1U, std::min(job_.limits.max_parallel_layers, 16U));
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return !error_.ok() || !queue_.empty() || (finish_ && running_ == 0); });
      // The workers still running use this object: leaving means leaving the process (main returns at once).
      if (!error_.ok()) return error_;
      if (queue_.empty()) break;
      if (running_ == max_workers) {
        changed_.wait(lock, [&] { return running_ < max_workers || !error_.ok(); });
        continue;
      }
      FetchCommand command = std::move(queue_.front());
      queue_.pop_front();
      ++running_;
      ASSIGN_OR_RETURN(std::thread worker, sched::StartThread([this, command] { Fetch(command); }));
      worker.detach();
    }
    if (finish_->layers != finished_layers_) {
      return Internal(fmt::format("{} layers done, {} asked for", finished_layers_, finish_->layers));
    }
    lock.unlock();
    IgnoreError(SendProgress());
    return Send(DoneEvent{finished_layers_});
  }

  void Fetch(const FetchCommand& command) {
    Status done = OutOfMemoryAsStatus([&]() -> Status {
      ASSIGN_OR_RETURN(LayerEvent layer, FetchLayer(command));
      return Send(layer);
    });
    std::lock_guard lock(mutex_);
    --running_;
    if (done.ok()) ++finished_layers_;
    if (!done.ok() && error_.ok()) error_ = std::move(done);
    changed_.notify_all();
  }

  void Fail(Status status) {
    std::lock_guard lock(mutex_);
    if (error_.ok()) error_ = std::move(status);
    changed_.notify_all();
  }

  // davitd's answer; commands are read on a thread of their own.
  Result<Credentials> AskCredentials(uint32_t endpoint) {
    RETURN_IF_ERROR(Send(CredentialsEvent{endpoint}));
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !error_.ok() || credentials_.count(endpoint) != 0; });
    auto given = credentials_.extract(endpoint);
    if (given.empty()) return error_;
    CredentialsCommand& command = given.mapped();
    if (!command.code.empty()) return StatusOf(ErrorEvent{command.code, command.error});
    return std::move(command.credentials);
  }

  // Bytes that are not the blob's, as many as it has, show at their end: the directory is begun again then, with what
  // another endpoint has. `unpack`: one try; kAborted where the bytes were others.
  template <class Unpack>
  auto FromWhoHasIt(const oci::Digest& digest, const FetchCommand& command, const Unpack& unpack)
      -> decltype(unpack(false)) {
    while (true) {
      auto unpacked = unpack(registry_ && registry_->HasSeveral());
      if (unpacked.code() != StatusCode::kAborted) return unpacked;
      if (!registry_ || !registry_->Blame(digest)) return DataLoss(unpacked.status().message());
      RETURN_IF_ERROR(BeginAgain(command));
    }
  }

  static Status BeginAgain(const FetchCommand& command) {
    RETURN_IF_ERROR(sys::RemoveTree(command.path));
    RETURN_IF_ERROR(sys::MakeDirectories(command.path, 0755));
    if (command.journal.empty()) return {};
    RETURN_IF_ERROR(sys::RemoveTree(command.journal + "/" + kJournalFile));
    return sys::RemoveTree(command.journal + "/" + kReplacedDirectory);
  }

  Result<LayerEvent> FetchArtifact(const FetchCommand& command, const ArtifactFile& file) {
    ASSIGN_OR_RETURN(std::unique_ptr<ImageSource> source, MakeSource());
    auto fetch = [&](const std::function<Status(std::string_view)>& push) {
      return source->Blob(file.blob.digest, file.blob.size, push);
    };
    LayerEvent event;
    event.diff_id = command.diff_id;
    if (file.path.empty()) {
      LayerJob job{file.blob, {}, command.path, ""};
      job.blob.media_type = oci::kMediaDockerLayerGzip;  // of which the bytes alone decide the compression
      ASSIGN_OR_RETURN(UnpackedLayer unpacked, FromWhoHasIt(file.blob.digest, command, [&](bool to_the_end) {
                         job.to_the_end = to_the_end;
                         return UnpackLayer(job, job_.limits, counters_, fetch);
                       }));
      return EventOf(command.diff_id, std::move(unpacked));
    }
    ASSIGN_OR_RETURN(LayerTotals totals, FromWhoHasIt(file.blob.digest, command, [&](bool) {
                       return WriteArtifactFile(file, command.path, job_.limits, counters_, fetch);
                     }));
    event.size = totals.size;
    event.entries = totals.entries;
    event.root_named = false;
    return event;
  }

  Result<LayerEvent> FetchLayer(const FetchCommand& command) {
    if (auto file = resolved_.files.find(command.diff_id); file != resolved_.files.end()) {
      return FetchArtifact(command, file->second);
    }
    auto blob = resolved_.blobs.find(command.diff_id);
    if (blob == resolved_.blobs.end())
      return InvalidArgument(fmt::format("no layer {} in this image", Printable(command.diff_id)));
    LayerJob layer{blob->second, {}, command.path, command.journal};
    ASSIGN_OR_RETURN(layer.diff_id, oci::Digest::Parse(command.diff_id));
    ASSIGN_OR_RETURN(std::unique_ptr<ImageSource> source, MakeSource());
    ASSIGN_OR_RETURN(UnpackedLayer unpacked, FromWhoHasIt(layer.blob.digest, command, [&](bool to_the_end) {
                       layer.to_the_end = to_the_end;
                       return UnpackLayer(layer, job_.limits, counters_,
                                          [&](const std::function<Status(std::string_view)>& push) {
                                            return source->Blob(layer.blob.digest, layer.blob.size, push);
                                          });
                     }));
    return EventOf(command.diff_id, std::move(unpacked));
  }

  static LayerEvent EventOf(const std::string& diff_id, UnpackedLayer unpacked) {
    LayerEvent event;
    event.diff_id = diff_id;
    event.size = unpacked.totals.size;
    event.entries = unpacked.totals.entries;
    event.warnings = std::move(unpacked.warnings);
    event.links_below = std::move(unpacked.links_below);
    event.root_named = unpacked.root_named;
    if (!Take(unpacked.implicit_directories, event.implicit_directories)) {
      event.warnings.emplace_back("too many directories without an entry: their owners and modes are root:root 0755");
    }
    if (!Take(unpacked.whiteout_directories, event.whiteout_directories)) {
      event.warnings.emplace_back("too many directories with whiteouts: names that nothing below has may be listed");
    }
    return event;
  }

  // As many paths as an event can carry; false when there are more.
  static bool Take(std::vector<std::string>& from, std::vector<std::string>& to) {
    size_t bytes = 0;
    for (std::string& path : from) {
      bytes += path.size();
      if (bytes > kMaxPathBytes || to.size() == kMaxPathsSent) return false;
      to.push_back(std::move(path));
    }
    return true;
  }

  [[noreturn]] Status ReadCommands() {
    while (true) {
      Result<std::optional<std::string>> line = lines_.Next();
      if (!line.ok() || !*line) ::_exit(kExitOrphaned);
      Result<PullCommand> command = DecodeCommand(**line);
      std::lock_guard lock(mutex_);
      if (!command.ok()) {
        if (error_.ok()) error_ = command.status();
      } else if (auto* fetch = std::get_if<FetchCommand>(&*command)) {
        queue_.push_back(std::move(*fetch));
      } else if (auto* credentials = std::get_if<CredentialsCommand>(&*command)) {
        credentials_[credentials->endpoint] = std::move(*credentials);
      } else {
        finish_ = std::get<FinishCommand>(*command);
      }
      changed_.notify_all();
    }
  }

  void ReportProgress() {
    uint64_t last = 0;
    while (true) {
      std::this_thread::sleep_for(std::chrono::milliseconds(250));
      uint64_t now = counters_.bytes_done + counters_.bytes_unpacked + Retries();
      if (now != last) IgnoreError(SendProgress());  // the next one will do
      last = now;
    }
  }

  Status SendProgress() { return Send(ProgressEvent{counters_.bytes_done, counters_.bytes_unpacked, Retries()}); }

  template <class Event>
  Status Send(const Event& event) {
    return OutOfMemoryAsStatus([&]() -> Status {
      Write(EncodeEvent(event));
      return {};
    });
  }

  void Write(std::string_view line) {
    std::lock_guard lock(output_);
    if (!sys::WriteAll(out_fd_, line).ok()) ::_exit(kExitOrphaned);
  }

  LineReader lines_;  // ReadCommands' once it runs
  int out_fd_;
  PullJob job_;
  // One of them.
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<Archive> archive_;
  std::unique_ptr<RootfsArchive> rootfs_;
  ResolvedImage resolved_;
  PipelineCounters counters_;
  std::mutex output_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<FetchCommand> queue_;
  std::map<uint32_t, CredentialsCommand> credentials_;  // answers that nobody has taken yet, by endpoint
  std::optional<FinishCommand> finish_;
  size_t running_ = 0;
  uint32_t finished_layers_ = 0;
  Status error_;
};

}  // namespace

Status RunPullSession(int in_fd, int out_fd) {
  // Never deleted: after an error its threads are still at work, until the process exits.
  return OutOfMemoryAsStatus([&]() -> Status {
    auto* session = new Session(in_fd, out_fd);
    return session->Run();
  });
}

}  // namespace davit::image
