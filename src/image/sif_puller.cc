#include "image/sif_puller.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>
#include <optional>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/time.h"
#include "image/pull_helper.h"
#include "image/sha256.h"
#include "oci/image_spec.h"
#include "oci/json.h"
#include "store/content.h"
#include "store/layers.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

// Credentials that are meant for another host are for nobody here.
Credentials ForLibrary(const Credentials& credentials, const Reference& reference, const std::string& library) {
  auto host_of = [](std::string_view text) {
    if (const size_t scheme = text.find("://"); scheme != std::string_view::npos) text.remove_prefix(scheme + 3);
    return std::string(text.substr(0, text.find('/')));
  };
  const std::string meant = host_of(credentials.server_address);
  if (meant.empty() || meant == reference.domain() || meant == host_of(library)) return credentials;
  return {};
}

// As it is on the disk now.
Result<store::LayerFile> LookAt(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  store::LayerFile file;
  RETURN_IF_ERROR(store::Identify(fd.get(), file).Annotate(path));
  return file;
}

Result<SifEvent> WaitForFile(PullHelper& helper, const PullRequest& request, Deadline deadline) {
  PullProgress progress;
  progress.layers_total = 1;
  while (true) {
    ASSIGN_OR_RETURN(PullHelper::Wake wake,
                     helper.Wait(request.cancel != nullptr ? request.cancel->fd() : -1, -1, deadline));
    if (wake == PullHelper::Wake::kCancelled) return Cancelled("cancelled by the caller");
    if (wake == PullHelper::Wake::kDeadline) {
      return DeadlineExceeded(fmt::format("deadline exceeded after {}", HumanBytes(progress.bytes_done)));
    }
    if (wake != PullHelper::Wake::kEvent) continue;
    ASSIGN_OR_RETURN(PullEvent event, helper.Take());
    if (auto* error = std::get_if<ErrorEvent>(&event)) return StatusOf(*error);
    if (auto* file = std::get_if<SifEvent>(&event)) return std::move(*file);
    if (auto* now = std::get_if<ProgressEvent>(&event)) {
      progress.bytes_done = now->bytes_done;
      progress.retries = now->retries;
      if (request.on_progress) request.on_progress(progress);
    }
  }
}

}  // namespace

Result<ImageRecord> SifPuller::Pull(const PullRequest& request, const SifSource& source, Deadline deadline) {
  const Reference& reference = request.reference;
  const std::string intent = request.archive.empty() ? "pull " + reference.String() : "load " + request.archive;
  if (!source.path.empty() && source.artifact == nullptr && request.archive.empty()) {
    Result<ImageRecord> known = images_.Resolve(reference.String());
    if (known.ok() && known->layers.size() == 1) {
      ASSIGN_OR_RETURN(oci::Digest key, oci::Digest::Parse(known->layers[0]));
      Result<store::Layer> layer = layers_.Find(key);
      const bool same = layer.ok() && layer->info.file && layer->info.file->path == source.path;
      if (same && layers_.Check(key)) return known;
    }
  }
  store::PauseDeletion pause = layers_.Pause();
  Result<ImageRecord> image = Fetch(request, source, deadline);
  if (!image.ok()) return image.status().Annotate(intent);
  return image;
}

Result<ImageRecord> SifPuller::Fetch(const PullRequest& request, const SifSource& source, Deadline deadline) {
  const Reference& reference = request.reference;
  const bool copied = !request.archive.empty(), linked = source.artifact != nullptr;
  const bool local = !source.path.empty() && !copied && !linked;  // stays where it is
  std::optional<store::LayerFile> before;
  if (local) {
    ASSIGN_OR_RETURN(before, LookAt(source.path));
  }
  ASSIGN_OR_RETURN(store::LayerStaging staging, layers_.Begin(Sha256::Of(reference.String() + request.archive)));
  FaultPoint("image.sif.staging");
  PullJob job;
  job.hosts = options_.hosts;
  if (!source.library.empty()) job.sif.credentials = ForLibrary(source.credentials, reference, source.library);
  job.limits = options_.limits;
  job.sif.kind = local ? "file" : copied ? "copy" : linked ? "link" : "library";
  job.sif.path = source.path;
  job.sif.url = source.library;
  if (!source.library.empty()) {
    job.sif.image = reference.repository() + ":" +
                    (reference.digest().empty() ? reference.tag() : "sha256." + reference.digest().substr(7));
  }
  job.sif.directory = staging.fs();
  const ImageList list = images_.List();
  for (const ImageRecord& image : *list) {
    // Its own file, not one that somebody may take away.
    if (!image.config_digest.empty() && image.layers.size() == 1 && image.layers[0] == image.id) {
      job.sif.present.push_back(image.id);
    }
  }
  // Before the helper says which it is: none of them goes meanwhile.
  LayerHold present = images_.Hold(job.sif.present);
  ASSIGN_OR_RETURN(std::unique_ptr<PullHelper> helper, PullHelper::Start(options_.helper_path, job));
  FaultPoint("image.sif.helper");
  ASSIGN_OR_RETURN(SifEvent event, WaitForFile(*helper, request, deadline));
  if (Status status = helper->Finish(Deadline::After(std::chrono::seconds(5))); !status.ok()) {
    LogDebug("{}: {}", reference.String(), status.message());
  }
  FaultPoint("image.sif.fetched");
  ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(event.digest));
  const std::string& wanted = linked ? source.digest : reference.digest();
  if (!wanted.empty() && wanted != digest.ToString()) {
    return DataLoss(fmt::format("asked for {}, the file has {}", wanted, digest.ToString()));
  }
  ImageRecord record;
  LayerHold hold;
  if (event.present) {
    ASSIGN_OR_RETURN(record, images_.Find(digest.ToString()));
    record.repo_tags.clear();
    record.repo_digests.clear();
  } else {
    ASSIGN_OR_RETURN(oci::ImageConfig config, oci::ParseImageConfig(event.config));
    if (event.size == 0 || event.offset > event.file_size || event.size > event.file_size - event.offset) {
      return Internal("davit-pull named a filesystem outside of the file");
    }
    store::LayerFile file;
    if (local) {
      ASSIGN_OR_RETURN(file, LookAt(source.path));
      if (file != *before) return FailedPrecondition(source.path + " was changed while it was read: pull it again");
      file.path = source.path;
    }
    file.offset = event.offset;
    file.size = event.size;
    // A file that somebody may delete is never the layer of an image from elsewhere.
    const oci::Digest key =
        local ? Sha256::Of(std::string(kLocalFileDomain) + '\0' + source.path + '\0' + digest.ToString()) : digest;
    const oci::Digest config_digest = Sha256::Of(event.config);
    // What tools expect of an image, and what a registry has of a SIF file that was pushed to it.
    const std::string manifest = oci::MakeManifest(
        oci::kMediaOciManifest, {std::string(oci::kMediaOciConfig), config_digest, event.config.size(), {}, {}, {}},
        {{std::string(kMediaSifLayer), digest, event.file_size, {}, {}, {}}});
    const oci::Digest manifest_digest = Sha256::Of(manifest);
    hold = images_.Hold({key.ToString(), config_digest.ToString(), manifest_digest.ToString()});
    layers_.Check(key);  // forgets what a file was before it was touched
    staging.SetKey(key);
    store::LayerInfo info;
    info.size = event.file_size;
    info.entries = event.inodes;
    info.file = file;
    RETURN_IF_ERROR(layers_.Commit(std::move(staging), info).Annotate("commit " + event.digest));
    FaultPoint("image.sif.layer");
    RETURN_IF_ERROR(content_.Put(config_digest, event.config));
    RETURN_IF_ERROR(content_.Put(manifest_digest, manifest));
    FaultPoint("image.sif.content");
    record.id = digest.ToString();
    record.config_digest = config_digest.ToString();
    record.manifest_digest = manifest_digest.ToString();
    record.command_prefix = event.command_prefix;
    record.size = event.file_size;
    record.layers = {key.ToString()};
    record.user = config.user;
    record.created = config.created;
    record.architecture = config.platform.architecture;
    // The same bytes from elsewhere: a file of the store's own stays the layer.
    Result<ImageRecord> known = images_.Find(record.id);
    if (local && known.ok() && known->layers == std::vector<std::string>{record.id} && layers_.Check(digest)) {
      record.layers = known->layers;
    }
  }
  record.pulled_at = WallNanos();
  if (linked) {
    const ImageRecord& artifact = *source.artifact;
    record.manifest_digest = artifact.manifest_digest;
    record.repo_tags = artifact.repo_tags;
    record.repo_digests = artifact.repo_digests;
    record.verdicts = artifact.verdicts;
    record.pinned = artifact.pinned;
  } else if (!copied) {
    record.repo_digests = {reference.Name() + "@" + digest.ToString()};
  }
  if (!linked && !copied && reference.digest().empty()) {
    record.repo_tags = {reference.TaggedName()};
  }
  ASSIGN_OR_RETURN(record, images_.Commit(std::move(record)));
  FaultPoint("image.sif.record");
  return record;
}

}  // namespace davit::image
