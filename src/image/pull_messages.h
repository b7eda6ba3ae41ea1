// The JSON lines between davitd and davit-pull, as types. docs/formats/pull-protocol.md describes them.
//
// davitd trusts nothing that the helper says beyond what it checks itself: digests of manifest and config
// are computed again when they are stored.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "image/endpoint.h"
#include "image/pull_options.h"
#include "image/signatures.h"

namespace davit::image {

inline constexpr uint32_t kPullProtocolVersion = 3;
inline constexpr size_t kMaxPullJobBytes = 4 << 20;     // a job or a command
inline constexpr size_t kMaxPullEventBytes = 32 << 20;  // an event: manifest and config, escaped

// A SIF file instead of layers (docs/images-sif.md).
struct SifJob {
  std::string kind;       // a "file" that stays where it is, a "copy" or "link" of one, "library"; empty: no SIF
  std::string path;       // of a file on this node: absolute
  std::string url;        // of the library, without a "/" at the end
  std::string image;      // "entity/collection/container:tag" in it
  std::string directory;  // the helper's own, empty: takes the downloaded file
  std::vector<std::string> present;  // digests of files that need no download
  Credentials credentials;           // for the library; a token is the password or registry_token
};

// First line on the helper's stdin.
struct PullJob {
  uint32_t version = kPullProtocolVersion;
  std::string reference;  // Reference::String()
  // Instead of a registry, for which `reference` is then empty: an archive of images and the number of one in it.
  std::string archive;  // absolute path
  uint32_t archive_image = 0;
  std::string spool;  // directory for what a compressed one unpacks to
  // Not empty: `archive` is a root filesystem (rootfs_archive.h), and this is the config of the image that it becomes.
  std::string import_config;
  std::vector<Endpoint> endpoints;
  HostMap hosts;  // for where redirects and token servers lead
  Platform platform;
  PullLimits limits;
  SignatureWants signatures;
  SifJob sif;
};

// Further lines on stdin.
struct FetchCommand {
  std::string diff_id;
  std::string path;     // empty directory, this layer's
  std::string journal;  // the directory around it, for its journal (layer_journal.h); empty: none is written
};
struct FinishCommand {
  uint32_t layers = 0;  // that were asked for: a check
};
// The answer to a CredentialsEvent.
struct CredentialsCommand {
  uint32_t endpoint = 0;
  Credentials credentials;  // empty: there are none
  std::string code;         // CodeName() of an error; empty: none
  std::string error;
};
using PullCommand = std::variant<FetchCommand, FinishCommand, CredentialsCommand>;

// Lines on the helper's stdout.
struct LayerSource {
  std::string diff_id;
  std::string digest;  // of the blob
  uint64_t size = 0;   // of the blob
};
struct ResolvedEvent {
  std::string top_digest;       // of the index, or of the manifest when there is none
  std::string manifest_digest;  // of this platform's manifest
  std::string manifest;         // text
  std::string config_digest;
  std::string config;               // text
  std::string endpoint;             // "https://host" that had it
  std::vector<LayerSource> layers;  // bottom first, one for each layer of the manifest
  std::vector<std::string> names;   // of an archive's image, as it has them
  uint32_t archive_images = 0;      // in the archive
  bool own_digests = true;          // top_digest is the image's; false: made for an archive that has none
  bool artifact = false;            // it is none of an image: config is empty, diff IDs are keys (artifact.h)
  std::string signatures;           // EncodeSignatureSet(); empty when none were wanted
};
struct ProgressEvent {
  uint64_t bytes_done = 0;
  uint64_t bytes_unpacked = 0;
  uint32_t retries = 0;
};
// Hard links of a layer to a file that must be in a layer below: names stand for one file, in their place is an empty
// one.
struct LinkBelow {
  std::string target;  // clean: no "..", no leading "/"
  std::vector<std::string> names;
};
struct LayerEvent {
  std::string diff_id;
  uint64_t size = 0;
  uint64_t entries = 0;
  // What the layers below decide (layer_stack.h); paths are clean, "" is the layer's root.
  std::vector<std::string> implicit_directories;  // without an entry of their own
  std::vector<std::string> whiteout_directories;  // with whiteouts, and nothing in the layer that hides all below
  std::vector<LinkBelow> links_below;
  bool root_named = true;  // an entry for the root itself (store::LayerInfo)
  std::vector<std::string> warnings;
};
// An endpoint has answered, or has not.
struct AttemptEvent {
  uint32_t endpoint = 0;  // number in PullJob::endpoints
  std::string name;       // its URL without "/v2", with the scheme that turned out
  std::string asked_for;
  std::string verdict;  // "OK" or the error
};
// An endpoint with `ask_credentials` is about to be asked, and waits for a CredentialsCommand.
struct CredentialsEvent {
  uint32_t endpoint = 0;  // number in PullJob::endpoints
};
// Instead of ResolvedEvent and LayerEvent: the file was hashed and, unless it is `present`, downloaded and read.
struct SifEvent {
  std::string digest;                       // of the whole file
  bool present = false;                     // one of SifJob::present; the rest is empty
  uint64_t file_size = 0;                   // bytes
  uint64_t offset = 0;                      // of the root filesystem, a squashfs, in the file
  uint64_t size = 0;                        // of it
  uint64_t inodes = 0;                      // in it, as its superblock has them
  std::string config;                       // text of an OCI image config that was made of it
  std::vector<std::string> command_prefix;  // ImageRecord::command_prefix
};
struct ErrorEvent {
  std::string code;  // CodeName()
  std::string message;
};
struct DoneEvent {
  uint32_t layers = 0;
};
using PullEvent = std::variant<ResolvedEvent, ProgressEvent, LayerEvent, AttemptEvent, CredentialsEvent, SifEvent,
                               ErrorEvent, DoneEvent>;

// One line, with its newline.
std::string EncodeJob(const PullJob& job);
std::string EncodeCommand(const PullCommand& command);
std::string EncodeEvent(const PullEvent& event);
// kInvalidArgument or kDataLoss for malformed lines, kUnimplemented for another version or an unknown kind.
Result<PullJob> DecodeJob(std::string_view line);
Result<PullCommand> DecodeCommand(std::string_view line);
Result<PullEvent> DecodeEvent(std::string_view line);

ErrorEvent ErrorEventOf(const Status& status);
Status StatusOf(const ErrorEvent& event);  // an unknown code becomes kInternal

}  // namespace davit::image
