// Layers: unpacked image layers, each kept once under its diff ID; or, where the content depends on the layers below,
// under a key of that stack, which is what "diff ID" means in this file then (image/layer_stack.h).
//
// LayerDriver is the interface (overlay directories today, single-file layers on newer kernels later);
// DirectoryLayers keeps each layer as a directory tree that overlayfs takes as a lowerdir, its journal beside fs/:
//
//   <root>/layers/<hex of the diff ID>/file/    a file layer: what is mounted is `image.sif` in it, or lies elsewhere
//   <root>/layers/<hex of the diff ID>/fs/      a layer; present and recorded, or not a layer. The directory above has
//                                               the attribute trusted.davit.root="unnamed" where the archive has no "/"
//   <root>/layers/.staging-<random>/fs/         being filled by davit-pull
//   <root>/trash/<random>                       being deleted
//
// Deleted files are marked as overlayfs marks them (a character device 0/0, and the attribute
// trusted.overlay.opaque="y" on a directory); the unpacker writes them.
//
// A layer counts only once it is complete and verified: Commit syncs the data, then renames, then
// writes the record. SIGKILL in between leaves a directory without a record, which Recover discards.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "oci/digest.h"
#include "store/database.h"
#include "store/trash.h"

namespace davit::store {

// The file that a layer is mounted from (layer_mounts.h), instead of a directory.
struct LayerFile {
  // A file that stays where it is, which whoever put it there may take away or change. Empty: the layer's own,
  // kOwnLayerFile in its directory.
  std::string path;
  uint64_t offset = 0;  // of the squashfs in it
  uint64_t size = 0;
  // Of a file that stays where it is: as it was when it was read. Not the device, whose number a reboot may change.
  uint64_t inode = 0;
  uint64_t file_size = 0;
  int64_t modified = 0;  // nanoseconds
  int64_t changed = 0;

  friend bool operator==(const LayerFile&, const LayerFile&) = default;
};
inline constexpr std::string_view kOwnLayerFile = "image.sif";

// Fills the identity of an open file in. kFailedPrecondition when it is no regular file.
Status Identify(int fd, LayerFile& file);

// As the unpacker counted them. Usage() is what they take on the disk, measured at the commit.
struct LayerInfo {
  uint64_t size = 0;     // bytes of file content
  uint64_t entries = 0;  // inodes
  // The archive has an entry for its root. Without one the root's owner and mode are made up, and the image's "/" is as
  // the layers below have it.
  bool root_named = true;
  std::optional<LayerFile> file;  // a file layer

  friend bool operator==(const LayerInfo&, const LayerInfo&) = default;
};

struct DiskUsage {
  uint64_t bytes = 0;
  uint64_t inodes = 0;

  friend bool operator==(const DiskUsage&, const DiskUsage&) = default;
};

struct Layer {
  oci::Digest diff_id;
  LayerInfo info;
  std::string path;  // the lowerdir; of a file layer the directory of its own file
  DiskUsage disk;    // what its directory takes, measured at the commit
  // Sizes of its regular files, each once, measured then too; not known of layers of earlier versions.
  std::optional<uint64_t> content_bytes;

  [[nodiscard]] std::string FilePath() const {  // of a file layer
    return info.file->path.empty() ? path + "/" + std::string(kOwnLayerFile) : info.file->path;
  }
};

// Of an image's lowerdirs, topmost first and at least one: the one whose owner and mode are those of the image's "/".
// The topmost whose archive names its root, or the bottom one. Looks at the disk.
const std::string& RootLayer(const std::vector<std::string>& lowerdirs);

// A layer in the making. Move-only; one that is neither committed nor abandoned goes to the trash when
// it is destroyed. Must not outlive its driver.
class LayerStaging {
 public:
  LayerStaging(oci::Digest diff_id, std::string dir, std::function<void(const std::string& dir)> discard);
  LayerStaging(LayerStaging&& other) noexcept;
  LayerStaging& operator=(LayerStaging&& other) noexcept;
  ~LayerStaging();

  [[nodiscard]] const oci::Digest& diff_id() const { return diff_id_; }
  // What it is committed as, when that is not what it was begun as.
  void SetKey(const oci::Digest& key) { diff_id_ = key; }
  // The directory to unpack into: there, empty, mode 0755.
  [[nodiscard]] std::string fs() const { return dir_ + "/fs"; }
  [[nodiscard]] const std::string& dir() const { return dir_; }
  // Forgets the directory and returns it.
  std::string Release();

 private:
  oci::Digest diff_id_;
  std::string dir_;  // empty: nothing left to discard
  std::function<void(const std::string&)> discard_;
};

struct LayerRecovery {
  // Recorded but not on the disk: the record is dropped, and images that use it must be fetched again.
  // For logs and events: a recovery that was killed half-way has dropped records that the next one
  // cannot report, so whether an image is whole is asked with Has().
  std::vector<oci::Digest> lost;
  size_t staging_discarded = 0;
  size_t unrecorded_discarded = 0;
};

// Thread-safe. Who uses a layer is the callers' business (image records and containers name them).
class LayerDriver {
 public:
  virtual ~LayerDriver() = default;

  // Once, before all other calls: makes the disk and the records agree.
  virtual Result<LayerRecovery> Recover() = 0;

  // A staging area. Two pulls may stage one layer at the same time; the first commit wins.
  // kResourceExhausted: disk full.
  virtual Result<LayerStaging> Begin(const oci::Digest& diff_id) = 0;
  // The caller vouches that the content's digest is the diff ID. Blocks until the data is on the disk.
  // OK, and the staging discarded, when the layer is there already. After an error nothing is left.
  virtual Status Commit(LayerStaging staging, const LayerInfo& info) = 0;
  virtual Status Abandon(LayerStaging staging) = 0;

  // Has, and its directory is there and not known to be damaged; looks at the disk. One whose directory somebody took
  // away, or whose file elsewhere is not the same any more, is forgotten, one that is damaged is set aside: it can be
  // fetched again.
  virtual bool Check(const oci::Digest& diff_id) = 0;

  // These three answer from memory and never wait for the disk.
  [[nodiscard]] virtual bool Has(const oci::Digest& diff_id) const = 0;
  // kNotFound naming the diff ID.
  [[nodiscard]] virtual Result<Layer> Find(const oci::Digest& diff_id) const = 0;
  [[nodiscard]] virtual std::vector<Layer> List() const = 0;
  [[nodiscard]] virtual DiskUsage Usage() const = 0;

  // The lowerdir; kNotFound as Find.
  [[nodiscard]] Result<std::string> Path(const oci::Digest& diff_id) const;

  // Drops the record, then the data (in the background). OK when there is no such layer.
  virtual Status Remove(const oci::Digest& diff_id) = 0;
  // ---- Damage (layer_check.h) ----
  // Containers run from it, so it stays where it is until Check finds it; kept over a restart. OK when there is no such
  // layer.
  virtual Status MarkDamaged(const oci::Digest& diff_id, const std::string& why) = 0;
  // Why, from memory; nullopt: it is not known to be.
  [[nodiscard]] virtual std::optional<std::string> Damaged(const oci::Digest& diff_id) const = 0;
  // Forgets the layer and moves its directory to <root>/quarantine; returns where. Mounts of it go on. kNotFound.
  virtual Result<std::string> SetAside(const oci::Digest& diff_id) = 0;

  // Stops background deletion while a pull is running.
  [[nodiscard]] virtual PauseDeletion Pause() = 0;
};

class DirectoryLayers final : public LayerDriver {
 public:
  // Creates <root>/layers (0700). `database` and `trash` (opened on the same root) outlive this.
  static Result<std::unique_ptr<DirectoryLayers>> Open(const std::string& root, Database& database, Trash& trash);
  ~DirectoryLayers() override;

  Result<LayerRecovery> Recover() override;
  Result<LayerStaging> Begin(const oci::Digest& diff_id) override;
  Status Commit(LayerStaging staging, const LayerInfo& info) override;
  Status Abandon(LayerStaging staging) override;
  bool Check(const oci::Digest& diff_id) override;
  [[nodiscard]] bool Has(const oci::Digest& diff_id) const override;
  [[nodiscard]] Result<Layer> Find(const oci::Digest& diff_id) const override;
  [[nodiscard]] std::vector<Layer> List() const override;
  [[nodiscard]] DiskUsage Usage() const override;
  Status Remove(const oci::Digest& diff_id) override;
  Status MarkDamaged(const oci::Digest& diff_id, const std::string& why) override;
  [[nodiscard]] std::optional<std::string> Damaged(const oci::Digest& diff_id) const override;
  Result<std::string> SetAside(const oci::Digest& diff_id) override;
  [[nodiscard]] PauseDeletion Pause() override;

 private:
  struct State;
  explicit DirectoryLayers(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::store
