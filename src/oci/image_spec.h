// OCI images as data: descriptors, indexes, manifests and configs, read from untrusted JSON.
//
// One set of types for both spellings: OCI image-spec 1.0/1.1 and Docker's image manifest version 2
// schema 2 differ only in media types. Schema 1 is refused by name.
//
// Caps: 4 MiB of text, depth 64, 1000 manifests in an index, 500 layers, and the entry caps of
// oci/json.h. Unknown fields are ignored, null counts as absent. Errors: kInvalidArgument naming the
// key path; kResourceExhausted for a cap; kUnimplemented for a document kind that is not supported.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "oci/digest.h"

namespace davit::oci {

inline constexpr size_t kMaxIndexManifests = 1000;
inline constexpr size_t kMaxLayers = 500;  // what overlayfs stacks (OVL_MAX_STACK): said at the pull, not at the run
// The kernel takes no longer environment string or argument (MAX_ARG_STRLEN); longer ones cannot run.
inline constexpr size_t kMaxConfigStringBytes = 128 * 1024;

inline constexpr std::string_view kMediaOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kMediaOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kMediaOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kMediaOciLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kMediaOciLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view kMediaOciLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view kMediaOciForeignLayer = "application/vnd.oci.image.layer.nondistributable.v1.tar";
inline constexpr std::string_view kMediaOciForeignLayerGzip =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
inline constexpr std::string_view kMediaOciForeignLayerZstd =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
inline constexpr std::string_view kMediaOciEmpty = "application/vnd.oci.empty.v1+json";
inline constexpr std::string_view kMediaDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kMediaDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kMediaDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kMediaDockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr std::string_view kMediaDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr std::string_view kMediaDockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd";
inline constexpr std::string_view kMediaDockerForeignLayer =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
inline constexpr std::string_view kMediaDockerSchema1 = "application/vnd.docker.distribution.manifest.v1+json";
inline constexpr std::string_view kMediaDockerSchema1Signed =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";

bool IsIndexMediaType(std::string_view type);
bool IsManifestMediaType(std::string_view type);
bool IsConfigMediaType(std::string_view type);  // of a runnable image

enum class LayerCompression { kNone, kGzip, kZstd };
struct LayerKind {
  LayerCompression compression = LayerCompression::kNone;
  bool foreign = false;  // "nondistributable": may be missing at the registry; its urls are never followed
};
// nullopt for what is no filesystem layer of ours: encrypted layers, other artifacts.
std::optional<LayerKind> LayerKindOf(std::string_view media_type);

struct Platform {
  std::string architecture;  // Go's names: "amd64", "arm64"
  std::string os;
  std::string variant;  // "v8", …; often empty
  std::string os_version;
  friend bool operator==(const Platform&, const Platform&) = default;
};

struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size = 0;  // bytes; at most 2^63-1
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
  std::string artifact_type;
  // "urls" is not kept: content comes from the registry that was asked (CVE-2020-15157).
};

struct Index {
  std::string media_type;  // as the document says; may be empty in old OCI documents
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;
};

struct Manifest {
  std::string media_type;
  std::string artifact_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // lowest first
  std::optional<Descriptor> subject;
  std::map<std::string, std::string> annotations;
};

enum class ManifestKind { kIndex, kManifest };

// Which of the two a document is. Its own mediaType, the Content-Type of the answer or the media type
// of the descriptor that led here (`expected_type`; empty: not known) and its shape must agree, and a
// document with both "layers" and "manifests" is refused (CVE-2021-41190).
Result<ManifestKind> DetectManifestKind(std::string_view text, std::string_view expected_type);

// These refuse ambiguous documents too.
Result<Index> ParseIndex(std::string_view text);
Result<Manifest> ParseManifest(std::string_view text);

// The text of a manifest for what has none. Of the descriptors media type, digest and size.
std::string MakeManifest(std::string_view media_type, const Descriptor& config, const std::vector<Descriptor>& layers);

struct Healthcheck {
  std::vector<std::string> test;  // {"CMD", …}, {"CMD-SHELL", text}, {"NONE"}; empty: inherit
  int64_t interval_ns = 0;        // 0: the default of whoever runs it
  int64_t timeout_ns = 0;
  int64_t start_period_ns = 0;
  int64_t start_interval_ns = 0;
  int64_t retries = 0;
};

struct HistoryEntry {
  std::string created;  // RFC 3339
  std::string created_by;
  std::string author;
  std::string comment;
  bool empty_layer = false;
};

struct ImageConfig {
  Platform platform;    // architecture, os, variant, os.version of the document
  std::string created;  // RFC 3339, as written
  std::string author;
  // The "config" object.
  std::string user;                        // "uid", "user", "uid:gid", …: as written, to be resolved in the rootfs
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::vector<std::string> env;            // "K=V"
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string working_dir;
  std::vector<std::string> volumes;  // paths as written: untrusted
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  std::optional<Healthcheck> healthcheck;
  std::vector<std::string> on_build;
  std::vector<std::string> shell;
  bool args_escaped = false;

  std::vector<Digest> diff_ids;  // of the uncompressed layers, lowest first
  std::vector<HistoryEntry> history;
};

// kInvalidArgument also for an embedded NUL in what becomes an argument, environment or path.
Result<ImageConfig> ParseImageConfig(std::string_view text);

// This machine's platform in image-spec names.
Platform HostPlatform();

// Normal form for comparing: "x86_64" is amd64, "aarch64" arm64, arm64 without a variant is v8, arm
// without one v7.
Platform NormalizePlatform(Platform platform);

// The entry to run on `wanted`: the first that matches exactly in normal form, else (arm) the highest
// lower variant, else the only one without a platform. Attestations (os "unknown") never match.
// kNotFound naming the platforms on offer.
Result<Descriptor> SelectPlatform(const Index& index, const Platform& wanted);

}  // namespace davit::oci
