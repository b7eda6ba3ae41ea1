// Puller: fetches images by running davit-pull, one process for each pull, and commits what it delivers.
//
// davitd never parses a tar header or speaks HTTP: the helper does, in its own mount namespace and with
// few privileges; this class gives it staging directories, reads its JSON lines
// (docs/formats/pull-protocol.md) and does the commits, each durable before the next:
//   intent record | staging directories | layers (synced, then renamed) | content | image record.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "image/endpoint.h"
#include "image/images.h"
#include "image/pull_options.h"
#include "image/reference.h"
#include "image/signatures.h"
#include "sys/unique_fd.h"

namespace davit::store {
class Database;
class Content;
class LayerDriver;
}  // namespace davit::store

namespace davit::image {

struct PullProgress {
  uint64_t bytes_done = 0;   // compressed bytes received so far, all layers
  uint64_t bytes_total = 0;  // compressed bytes that the pull has to fetch; 0 until the manifest is known
  uint64_t bytes_unpacked = 0;
  uint32_t layers_done = 0;
  uint32_t layers_total = 0;    // of the image
  uint32_t layers_present = 0;  // were on the node already
  uint32_t retries = 0;
  std::vector<PullAttempt> attempts;  // who was asked, in order; see AddAttempt
};
inline constexpr size_t kMaxAttempts = 64;
// Of more than kMaxAttempts the first that went well makes room: what failed says why a pull did.
void AddAttempt(std::vector<PullAttempt>& attempts, PullAttempt attempt);

// Ends a pull from any thread. Must outlive the Pull it is given to.
class PullCancel {
 public:
  static Result<std::unique_ptr<PullCancel>> Create();
  void Cancel();
  [[nodiscard]] int fd() const { return fd_.get(); }  // readable once cancelled

 private:
  explicit PullCancel(sys::UniqueFd fd) : fd_(std::move(fd)) {}
  sys::UniqueFd fd_;
};

struct PullRequest {
  Reference reference;
  // Instead of a reference: the absolute path of an archive of images (archive.h) and the number of one in it.
  std::string archive;
  uint32_t archive_image = 0;
  // Not empty: the archive is a root filesystem that becomes an image with this config (oci::MakeImportConfig), under
  // the name `reference`, which may be empty.
  std::string import_config;
  std::string spool;                // directory for what a compressed archive unpacks to
  std::vector<Endpoint> endpoints;  // who is asked, in order; empty: as PullerOptions::hosts says, with no credentials
  // For an endpoint with `ask_credentials`, by its number, on the pulling thread, which may wait for it. Empty: none.
  struct Found {
    Credentials credentials;
    std::string source;  // Endpoint::credentials_source
  };
  std::function<Result<Found>(size_t endpoint)> find_credentials;
  Platform platform;
  // Called on the pulling thread, at most some times a second; must not block. May be empty.
  std::function<void(const PullProgress&)> on_progress;
  const PullCancel* cancel = nullptr;  // may be null
  // What is collected beside the image, and who looks at it: called on the pulling thread once the manifest is known,
  // before any layer is fetched, with an EncodeSignatureSet(). Its error ends the pull. Empty: nobody has to.
  SignatureWants signatures;
  std::function<Result<Verdict>(const std::string& manifest_digest, const std::string& signatures)> verify;
};

struct PullerOptions {
  std::string helper_path = "davit-pull";  // absolute, or looked up in PATH
  HostMap hosts;
  PullLimits limits;
};

class Puller {
 public:
  // The references outlive this.
  Puller(store::Database& database, store::Content& content, store::LayerDriver& layers, Images& images,
         PullerOptions options);
  ~Puller();
  Puller(const Puller&) = delete;
  Puller& operator=(const Puller&) = delete;

  // Removes what pulls of an earlier davitd have left (staging directories, intents). Before any Pull,
  // after Images::Recover().
  Status Recover();

  // Blocks the calling thread (run it in a pool) until the image is committed. Any number in parallel; a
  // layer that two pulls need is fetched by one of them. Joining two pulls of the same reference is the
  // caller's (sched::Operations).
  //   kInvalidArgument    the image or a document of it is malformed; kUnimplemented a media type
  //   kNotFound           no such repository or tag, or no manifest for this platform
  //   kUnauthenticated, kPermissionDenied   the registry refused the credentials, or there were none
  //   kUnavailable        no endpoint could be reached; the text has the verdict of each
  //   kDeadlineExceeded   the deadline, or a stall: the text says which host and how far it got
  //   kResourceExhausted  no space left, or a cap of PullLimits
  //   kDataLoss           a digest, diff ID or size does not match
  //   kCancelled          PullRequest::cancel
  // On any error nothing stays but the layers that were complete: a retry finds them.
  Result<ImageRecord> Pull(const PullRequest& request, Deadline deadline);

  // One image of an archive, as Pull. kInvalidArgument also for a name in it that is none; an image without a name is
  // kept without one.
  struct Loaded {
    ImageRecord record;
    std::vector<std::string> names;  // of this image in the archive, normalised
    uint32_t images = 0;             // in the archive
  };
  Result<Loaded> Load(const PullRequest& request, Deadline deadline);

  // For configuration reloads: the next Pull uses it.
  void SetOptions(PullerOptions options);

 private:
  Result<Loaded> Fetch(const PullRequest& request, const std::string& intent, Deadline deadline);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace davit::image
