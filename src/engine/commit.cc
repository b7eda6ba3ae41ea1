// Commit: an image of a container. What it wrote becomes a tar, which is the one new blob of an OCI image layout that
// is loaded like any other (image/archive.h): so the layer is unpacked, verified, recorded and can be saved as those of
// a pull. The layers below are in the store under their diff IDs and are not in the layout.
//
//   <root>/commits/<random>/{oci-layout,index.json,blobs/sha256/…}   gone at the end, or at the next start

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/rollback.h"
#include "base/strings.h"
#include "base/time.h"
#include "container/resources.h"
#include "engine/state.h"
#include "engine/tree_helper.h"
#include "image/sha256.h"
#include "oci/commit_config.h"
#include "oci/json_writer.h"
#include "sys/atomic_file.h"
#include "sys/freezer.h"

namespace davit::engine {
namespace {

using container::ContainerRecord;
using container::Phase;

constexpr std::chrono::minutes kStall{2};
constexpr std::chrono::hours kBudget{1};
constexpr std::chrono::seconds kFreeze{10};
constexpr const char* kFrozenMark = "/frozen-by-commit";  // in the container's run directory

struct Blob {
  oci::Digest digest;
  uint64_t size = 0;
};

// Keys of Docker's Config: what the container was given. null: it has none, whatever the image says.
std::string ContainerConfig(const ContainerRecord& record, const oci::ImageConfig& image) {
  const container::ContainerSpec& spec = record.spec;
  oci::JsonWriter json;
  json.BeginObject();
  // CRI: a command replaces the entrypoint, and the image's arguments with it.
  if (!spec.command.empty()) json.Strings("Entrypoint", spec.command);
  if (!spec.args.empty()) {
    json.Strings("Cmd", spec.args);
  } else if (!spec.command.empty()) {
    json.Key("Cmd").Raw("null");
  }
  if (!spec.working_dir.empty()) json.Field("WorkingDir", spec.working_dir);
  if (!spec.envs.empty()) {
    std::vector<std::string> env = image.env;
    for (const container::EnvironmentVariable& variable : spec.envs) {
      const std::string start = variable.key + "=";
      std::erase_if(env, [&](const std::string& entry) { return entry.starts_with(start); });
      env.push_back(start + variable.value);
    }
    json.Strings("Env", env);
  }
  const container::SecurityContext& security = spec.security;
  std::string user = security.run_as_username;
  if (user.empty() && security.run_as_user) user = std::to_string(*security.run_as_user);
  if (!user.empty() && security.run_as_group) user += ":" + std::to_string(*security.run_as_group);
  if (!user.empty()) json.Field("User", user);
  std::map<std::string, std::string> labels = image.labels;
  for (const auto& [key, value] : spec.labels) {
    if (!key.starts_with("io.kubernetes.")) labels[key] = value;  // those say which pod it was
  }
  json.NonEmpty("Labels", labels);
  json.EndObject();
  return std::move(json).Take();
}

// The upper directory as a layer's tar, in a file of its digest's name.
Result<Blob> WriteLayer(const std::string& program, const image::TreeJob& job, const std::string& directory) {
  const std::string temporary = directory + "/layer";
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  ASSIGN_OR_RETURN(auto helper, TreeHelper::Start(program, job, -1));
  image::Sha256 hash;
  Blob blob;
  for (;;) {
    ASSIGN_OR_RETURN(const std::string piece, helper->Read(Deadline::After(kStall)));
    if (piece.empty()) break;
    hash.Update(piece);
    blob.size += piece.size();
    RETURN_IF_ERROR(sys::WriteAll(file.get(), piece).Annotate(temporary));
  }
  RETURN_IF_ERROR(helper->Finish(Deadline::After(kStall)));
  blob.digest = hash.Finish();
  const std::string name = directory + "/blobs/sha256/" + std::string(blob.digest.hex());
  if (::rename(temporary.c_str(), name.c_str()) != 0) return ErrnoError(errno, "rename " + temporary);
  return blob;
}

Result<Blob> WriteBlob(const std::string& directory, const std::string& text) {
  const Blob blob{image::Sha256::Of(text), text.size()};
  RETURN_IF_ERROR(sys::WriteFileAtomic(directory + "/blobs/sha256/" + std::string(blob.digest.hex()), text, 0600,
                                       sys::Durability::kAtomic));
  return blob;
}

Status WriteIndex(const std::string& directory, const std::string& media_type, const Blob& manifest) {
  oci::JsonWriter json;
  json.BeginObject().Field("schemaVersion", 2).Key("manifests").BeginArray().BeginObject();
  json.Field("mediaType", media_type).Field("digest", manifest.digest.ToString()).Field("size", manifest.size);
  json.EndObject().EndArray().EndObject();
  RETURN_IF_ERROR(
      sys::WriteFileAtomic(directory + "/index.json", std::move(json).Take(), 0600, sys::Durability::kAtomic));
  return sys::WriteFileAtomic(directory + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0600,
                              sys::Durability::kAtomic);
}

}  // namespace

void Engine::Commit(CommitRequest request, Done<std::string> done) {
  State* state = state_.get();
  state->files_pool.Post([state, request = std::move(request), done = std::move(done)] {
    Result<std::string> id = state->CommitNow(request);
    if (!id.ok()) id = id.status().Annotate("commit container " + Printable(request.container, 80));
    done(id);
  });
}

// Does nothing for one that no commit has frozen.
void Engine::State::ThawAfterCommit(const ContainerRecord& record) {
  const std::string mark = containers->paths().Directory(record.id) + kFrozenMark;
  if (::access(mark.c_str(), F_OK) != 0) return;
  Status thawed = sys::ThawCgroup(cgroups, record.cgroup, Deadline::After(kFreeze));
  if (thawed.ok()) thawed = sys::RemoveTree(mark);
  if (!thawed.ok()) LogWarning("container {}: {}", record.id.Short(), thawed.message());
}

Result<std::string> Engine::State::CommitNow(const CommitRequest& request) {
  ASSIGN_OR_RETURN(const ContainerPtr record, View().FindNamedContainer(request.container));
  std::optional<image::Reference> name;
  if (!request.reference.empty()) {
    ASSIGN_OR_RETURN(std::vector<image::Reference> meanings, images->names().Candidates(request.reference));
    name = std::move(meanings.front());
    if (!name->digest().empty() || name->tag().empty()) {
      return InvalidArgument("\"" + Printable(request.reference, 300) + "\" is no name with a tag");
    }
  }
  Result<image::ImageRecord> parent = images->Find(record->image_id);
  if (!parent.ok()) return FailedPrecondition("its image is not on the node any more: " + record->image_id);
  if (!parent->config_digest.empty()) return Unimplemented("its image was made of a SIF file");
  // Nothing of the parent goes while the new image does not name its layers yet.
  std::vector<std::string> held = parent->layers;
  held.insert(held.end(), {parent->id, parent->manifest_digest});
  const image::LayerHold hold = images->Hold(held);
  ASSIGN_OR_RETURN(oci::Digest config_digest, oci::Digest::Parse(parent->ConfigDigest()));
  ASSIGN_OR_RETURN(oci::Digest manifest_digest, oci::Digest::Parse(parent->manifest_digest));
  ASSIGN_OR_RETURN(const std::string parent_config, content->Get(config_digest));
  ASSIGN_OR_RETURN(const std::string parent_manifest, content->Get(manifest_digest));
  ASSIGN_OR_RETURN(oci::Manifest manifest, oci::ParseManifest(parent_manifest));
  ASSIGN_OR_RETURN(const oci::ImageConfig image_config, oci::ParseImageConfig(parent_config));
  oci::CommitSettings settings;
  settings.parent = parent_config;
  settings.container = ContainerConfig(*record, image_config);
  settings.config = request.config;
  settings.changes = request.changes;
  settings.author = request.author;
  settings.comment = request.message;
  settings.created = FormatRfc3339Nano(WallNanos());
  settings.diff_id = config_digest;  // any: so that a bad request is told before the disk is read
  RETURN_IF_ERROR(oci::MakeCommitConfig(settings).status());

  const std::string directory = config.root + "/commits/" + MintId().substr(0, 16);
  Rollback remove;
  remove.Add("commit", [&] { return trash->Discard(directory); });
  RETURN_IF_ERROR(sys::MakeDirectories(directory + "/blobs/sha256", 0700));
  FaultPoint("engine.commit.directory");
  image::TreeJob job;
  job.verb = "layer";
  job.root = rootfs->UpperDir(record->id);
  job.ids_outside = record->host_root;
  job.ids_length = record->host_root != 0 ? 65'536 : 0;
  job.leave_out = MountPointsOf(*record);
  if (::access(job.root.c_str(), F_OK) != 0) {  // it has never been made
    job.root = directory + "/empty";
    RETURN_IF_ERROR(sys::MakeDirectories(job.root, 0755));
  }
  const std::string mark = containers->paths().Directory(record->id) + kFrozenMark;
  const bool freeze = request.pause && record->phase == Phase::kRunning && !record->cgroup.empty() &&
                      !sys::IsCgroupFrozen(cgroups, record->cgroup).value_or(true);
  if (freeze) {
    // A davitd that dies here leaves it to the next one.
    RETURN_IF_ERROR(sys::WriteFileAtomic(mark, "", 0600, sys::Durability::kAtomic));
    FaultPoint("engine.commit.mark");
    Status frozen = sys::FreezeCgroup(cgroups, record->cgroup, Deadline::After(kFreeze));
    if (!frozen.ok()) return frozen.WithUndoError(sys::RemoveTree(mark));
    FaultPoint("engine.commit.frozen");
  }
  Result<Blob> layer = WriteLayer(tree_program, job, directory);
  if (freeze) ThawAfterCommit(*record);
  if (!layer.ok()) return layer.status();
  settings.diff_id = layer->digest;
  ASSIGN_OR_RETURN(const std::string text, oci::MakeCommitConfig(settings));
  ASSIGN_OR_RETURN(const Blob config_blob, WriteBlob(directory, text));
  const bool docker = manifest.config.media_type == oci::kMediaDockerConfig;
  const std::string media_type(docker ? oci::kMediaDockerManifest : oci::kMediaOciManifest);
  manifest.layers.push_back(
      {std::string(docker ? oci::kMediaDockerLayer : oci::kMediaOciLayer), layer->digest, layer->size, {}, {}, {}});
  ASSIGN_OR_RETURN(
      const Blob manifest_blob,
      WriteBlob(directory, oci::MakeManifest(media_type,
                                             {std::string(docker ? oci::kMediaDockerConfig : oci::kMediaOciConfig),
                                              config_blob.digest,
                                              config_blob.size,
                                              {},
                                              {},
                                              {}},
                                             manifest.layers)));
  RETURN_IF_ERROR(WriteIndex(directory, media_type, manifest_blob));
  FaultPoint("engine.commit.layout");
  image::PullRequest load;
  load.archive = directory;
  load.spool = directory;
  ASSIGN_OR_RETURN(image::Puller::Loaded loaded, puller->Load(load, Deadline::After(kBudget)));
  if (name) RETURN_IF_ERROR(images->Tag(loaded.record.id, *name).status());
  verification->Release(false);
  Activity committed{"container", "commit", record->id.str(), 0, AttributesOf(*record), IsStandalone(*record)};
  committed.attributes["imageID"] = loaded.record.id;
  activity.Add(std::move(committed));
  LogInfo("committed container {} as {}", record->id.Short(), loaded.record.id);
  return loaded.record.id;
}

}  // namespace davit::engine
