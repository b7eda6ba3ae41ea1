// Images: the index of the images on this node.
//
// Reads (List, Resolve, Find) take an immutable snapshot and never wait (ARCHITECTURE.md, invariant 3).
// Writes are serial, go to store::Database first (kind "image", durable) and then become the next
// snapshot. The layers themselves belong to the layer driver; an image only names them by diff ID.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/reference.h"
#include "image/short_names.h"

namespace davit::oci {
struct ImageConfig;
class Digest;
}  // namespace davit::oci
namespace davit::store {
class Database;
class Content;
class LayerDriver;
}  // namespace davit::store

namespace davit::image {

// That a signature policy took the image under a name. With the kept signatures it can be said again, offline, when
// the policy is another (docs/trust.md).
struct Verdict {
  std::string name;             // Reference::String() of what was asked for
  std::string manifest_digest;  // of the platform's manifest
  std::string policy;           // trust::Decision::Fingerprint()
  std::string rule;             // for people: file and scope
  std::string signatures;       // digest of the SignatureSet in store::Content; empty: none were wanted
  int64_t checked_at = 0;       // wall nanoseconds

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

// Plain values; copies are cheap enough for a list of some hundred.
struct ImageRecord {
  std::string id;                         // "sha256:…", digest of the config blob: the one identifier everywhere
  std::vector<std::string> repo_tags;     // "docker.io/library/busybox:latest", sorted
  std::vector<std::string> repo_digests;  // "docker.io/library/busybox@sha256:…", sorted
  std::string manifest_digest;            // of the platform's manifest, in store::Content
  // Bytes on disk: the sum of the regular files' sizes in all layers (each counted once) plus manifest
  // and config. CRI Image.size.
  uint64_t size = 0;
  std::vector<std::string>
      layers;           // as the layer driver has them, bottom first: diff IDs or stack keys (layer_stack.h)
  std::string user;     // config.User as it is in the image: "", "1002", "www-data:1004"
  std::string created;  // config.created, RFC 3339 as it is in the image; may be empty
  std::string architecture;
  int64_t pulled_at = 0;  // wall nanoseconds
  bool pinned = false;    // the kubelet's image GC must leave it alone; CRI Image.pinned
  // Not empty: an OCI artifact (artifact.h), which has no config; its id is the manifest's digest.
  std::string artifact_type;
  // Of a SIF file, whose digest is the id: the digest of the config that was made of it. Empty: the id is the config's.
  std::string config_digest;
  // What a container's own command runs under, instead of the image's entrypoint: /.singularity.d/actions/exec.
  std::vector<std::string> command_prefix;
  std::vector<Verdict> verdicts;  // one for each name; the oldest go when there are many

  // Of the config blob in store::Content; for an artifact the manifest's.
  [[nodiscard]] const std::string& ConfigDigest() const { return config_digest.empty() ? id : config_digest; }

  friend bool operator==(const ImageRecord&, const ImageRecord&) = default;
};

// An immutable list, sorted by id. Keep the pointer as long as you like.
using ImageList = std::shared_ptr<const std::vector<ImageRecord>>;

// One use of some layers, for as long as it lives: Images::Remove leaves held layers on disk. Movable.
class LayerHold {
 public:
  LayerHold() = default;
  LayerHold(LayerHold&&) noexcept = default;
  LayerHold& operator=(LayerHold&&) noexcept;
  ~LayerHold();

 private:
  friend class Images;
  struct Ledger;
  void Release();
  std::shared_ptr<Ledger> ledger_;
  std::vector<std::string> digests_;
};

class Images {
 public:
  // Whether containers (or anything else outside images) still need a layer. Called under the writers'
  // lock: it must read memory only and must not call Images.
  using LayerInUse = std::function<bool(const std::string& diff_id)>;

  // All references outlive this. Call Recover() before anything else.
  // `names`: what a name without a registry means, in every call; the first meaning that is there counts.
  Images(store::Database& database, store::Content& content, store::LayerDriver& layers, LayerInUse in_use,
         ShortNames names = ShortNames());
  ~Images();
  Images(const Images&) = delete;
  Images& operator=(const Images&) = delete;

  // Loads the records. A record that cannot be read, or whose layers or blobs are damaged or absent, is
  // dropped and logged, so that the next pull heals it. Then removes layers and blobs that nobody names.
  Status Recover();

  // Any thread; never waits.
  [[nodiscard]] const ShortNames& names() const { return names_; }
  [[nodiscard]] ImageList List() const;
  // By tag ("busybox", "host/a:b"), by digest reference, by full id ("sha256:hex" or hex) or by a unique
  // prefix of an id. kNotFound when there is no such image, kInvalidArgument when the text is no
  // reference or the prefix fits more than one image (naming how many).
  Result<ImageRecord> Resolve(std::string_view text) const;
  // By full id only.
  Result<ImageRecord> Find(std::string_view id) const;
  // The parsed config blob, read from store::Content and kept. kDataLoss when it is damaged.
  Result<std::shared_ptr<const oci::ImageConfig>> Config(const ImageRecord& record) const;

  // Adds an image, or its names to the image with the same id. Names move: an image that had one of
  // record.repo_tags loses it and stays, without that tag, under its id. Its layers and blobs must be
  // committed already. Returns the record as it is now.
  Result<ImageRecord> Commit(ImageRecord record);
  // One more tag for an image: `target` is normalised and needs a tag. kNotFound, kInvalidArgument.
  Result<ImageRecord> Tag(std::string_view source, const Reference& target);
  Result<ImageRecord> SetPinned(std::string_view source, bool pinned);

  // Keeps a verdict in place of an earlier one under the same name. kNotFound when the image is gone.
  Status SetVerdict(std::string_view id, Verdict verdict);

  // Removes the whole image with all its names, whichever name is given (that is what CRI wants). OK when
  // there is no such image. Layers and blobs that no other image, hold or container needs go too.
  Status Remove(std::string_view text);
  // Takes one name away; the image goes when it was its last. For docker rmi. kNotFound.
  Status Untag(std::string_view text);
  // Takes all names away and keeps the image: containers are to be started from it again. By its ID.
  Status Unname(const std::string& id);

  // Keeps layers (by diff ID) or blobs (by digest) from being removed by Remove while the hold lives. To
  // create a container: Resolve, Hold, then Find again; when that still finds the image, the layers stay.
  // Waits for a removal that is under way.
  [[nodiscard]] LayerHold Hold(const std::vector<std::string>& digests);

  // Takes a damaged layer out of use. Nobody needs it: it goes to quarantine, and the images that have it are
  // forgotten, so that the next pull fetches it again; their other layers stay as long as somebody holds them.
  // Containers run from it, or somebody holds it: it is marked (store::LayerDriver::MarkDamaged), and the images stay.
  struct SetAside {
    bool in_use = false;
    std::string quarantine;  // where it is now
    std::vector<ImageRecord> forgotten;
  };
  Result<SetAside> SetAsideLayer(const oci::Digest& layer, const std::string& why);
  // Forgets an image whose manifest or config is damaged, and removes both. Its layers stay as above.
  Status Forget(const ImageRecord& record);

  // Removes layers that neither an image nor a hold nor LayerInUse names; call after a container is gone.
  Status CollectLayers();

 private:
  // All of these with writers_ held.
  Status Write(const std::vector<ImageRecord>& changed, const std::vector<std::string>& removed);
  Status RemoveRecord(const ImageRecord& record);
  [[nodiscard]] bool NamedByForeign(const std::string& digest) const;
  // Content that no image names any more. Content that a pull has just stored is protected by its hold.
  void SweepLayers(const std::vector<std::string>* only);
  void SweepContent(const std::vector<std::string>* only);

  store::Database& database_;
  store::Content& content_;
  store::LayerDriver& layers_;
  LayerInUse in_use_;
  const ShortNames names_;
  std::vector<std::string> foreign_;  // records of a later version, as they are; set by Recover
  std::mutex writers_;                // serialises Commit, Tag, Remove, …; readers never take it
  mutable std::mutex snapshot_lock_;  // held to copy one pointer
  ImageList snapshot_;
  mutable std::map<std::string, std::shared_ptr<const oci::ImageConfig>> configs_;  // guarded by snapshot_lock_
  std::shared_ptr<LayerHold::Ledger> ledger_;
};

}  // namespace davit::image
