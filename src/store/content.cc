#include "store/content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>

#include "base/fault.h"
#include "base/log.h"
#include "store/directory.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

constexpr std::array kAlgorithms = {oci::DigestAlgorithm::kSha256, oci::DigestAlgorithm::kSha512};

Result<oci::Digest> HashOf(oci::DigestAlgorithm algorithm, std::string_view bytes) {
  const EVP_MD* type = algorithm == oci::DigestAlgorithm::kSha512 ? EVP_sha512() : EVP_sha256();
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), &size, type, nullptr) != 1) {
    return Internal(fmt::format("{} failed", oci::AlgorithmName(algorithm)));
  }
  return oci::Digest::FromRaw(algorithm, {reinterpret_cast<const char*>(hash.data()), size});
}

}  // namespace

struct Content::State {
  std::string dir;                        // <root>/content
  std::mutex change;                      // one change of files at a time
  mutable std::mutex mutex;               // held for memory only
  std::map<oci::Digest, uint64_t> sizes;  // what is there

  std::string DirOf(oci::DigestAlgorithm algorithm) const {
    return fmt::format("{}/{}", dir, oci::AlgorithmName(algorithm));
  }
  std::string PathOf(const oci::Digest& digest) const { return DirOf(digest.algorithm()) + "/" + digest.hex(); }

  bool Has(const oci::Digest& digest) const {
    std::lock_guard guard(mutex);
    return sizes.count(digest) != 0;
  }

  Status Load(oci::DigestAlgorithm algorithm) {
    std::string path = DirOf(algorithm);
    RETURN_IF_ERROR(sys::MakeDirectories(path, 0700));
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(AT_FDCWD, path));
    for (;;) {
      ASSIGN_OR_RETURN(std::optional<std::string> name, directory.Next());
      if (!name) return {};
      Result<oci::Digest> digest = oci::Digest::ParseHex(algorithm, *name);
      struct stat info {};
      bool is_file = ::fstatat(directory.fd(), name->c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
      if (digest.ok() && is_file) {
        sizes[*digest] = static_cast<uint64_t>(info.st_size);
      } else if (is_file && ::unlinkat(directory.fd(), name->c_str(), 0) != 0) {
        LogWarning("remove {}/{}: {}", path, *name, ErrnoError(errno, "unlink").message());
      }
    }
  }

  // kDataLoss: there, but not what the digest says.
  Result<std::string> ReadVerified(const oci::Digest& digest) const {
    std::string path = PathOf(digest);
    std::string intent = fmt::format("get content {}", digest.ToString());
    Result<sys::UniqueFd> file = sys::Open(path, O_RDONLY | O_NOFOLLOW);
    if (file.code() == StatusCode::kNotFound) {
      return NotFound(fmt::format("content {} is not in the store", digest.ToString()));
    }
    if (!file.ok()) return file.status().Annotate(intent);
    struct stat info {};
    if (::fstat(file->get(), &info) != 0) return ErrnoError(errno, fmt::format("{}: stat", intent));
    Status damaged = DataLoss(fmt::format("{}: the file was damaged and is removed", intent));
    if (static_cast<uint64_t>(info.st_size) > kMaxBlobBytes) return damaged;
    ASSIGN_OR_RETURN_WITH(std::string bytes, sys::ReadAll(file->get(), kMaxBlobBytes), intent);
    ASSIGN_OR_RETURN(oci::Digest actual, HashOf(digest.algorithm(), bytes));
    if (actual != digest) return damaged;
    return bytes;
  }

  Status Unlink(const oci::Digest& digest) {
    std::string path = PathOf(digest);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, fmt::format("remove {}", path));
    std::lock_guard guard(mutex);
    sizes.erase(digest);
    return {};
  }
};

Content::Content(std::unique_ptr<State> state) : state_(std::move(state)) {}
Content::~Content() = default;

Result<std::unique_ptr<Content>> Content::Open(const std::string& root) {
  auto state = std::make_unique<State>();
  state->dir = root + "/content";
  RETURN_IF_ERROR(sys::MakeDirectories(root, 0700));
  RETURN_IF_ERROR(sys::MakeDirectories(state->dir, 0700));
  for (oci::DigestAlgorithm algorithm : kAlgorithms) RETURN_IF_ERROR(state->Load(algorithm));
  return std::unique_ptr<Content>(new Content(std::move(state)));
}

Status Content::Put(const oci::Digest& digest, std::string_view bytes) {
  if (digest.empty()) return InvalidArgument("put content: empty digest");
  if (bytes.size() > kMaxBlobBytes) {
    return InvalidArgument(
        fmt::format("put content {}: {} bytes are more than {}", digest.ToString(), bytes.size(), kMaxBlobBytes));
  }
  ASSIGN_OR_RETURN(oci::Digest actual, HashOf(digest.algorithm(), bytes));
  if (actual != digest) {
    return InvalidArgument(fmt::format("put content {}: the bytes are {}", digest.ToString(), actual.ToString()));
  }
  std::lock_guard change(state_->change);
  // Written again even when it is there: the copy on the disk may be the damaged one.
  RETURN_IF_ERROR(sys::WriteFileAtomic(state_->PathOf(digest), bytes, 0600, sys::Durability::kDurable)
                      .Annotate(fmt::format("put content {}", digest.ToString())));
  FaultPoint("store.content.put.written");
  std::lock_guard guard(state_->mutex);
  state_->sizes[digest] = bytes.size();
  return {};
}

Result<std::string> Content::Get(const oci::Digest& digest) {
  if (digest.empty()) return InvalidArgument("get content: empty digest");
  Result<std::string> bytes = state_->ReadVerified(digest);
  if (bytes.code() != StatusCode::kDataLoss) return bytes;
  // Once more under the lock: a Put may have replaced the damaged file meanwhile.
  std::lock_guard guard(state_->change);
  bytes = state_->ReadVerified(digest);
  if (bytes.code() != StatusCode::kDataLoss) return bytes;
  Status removed = state_->Unlink(digest);
  return removed.ok() ? bytes.status() : bytes.status().WithUndoError(removed);
}

bool Content::Has(const oci::Digest& digest) const { return state_->Has(digest); }

Status Content::Remove(const oci::Digest& digest) {
  if (digest.empty()) return InvalidArgument("remove content: empty digest");
  std::lock_guard change(state_->change);
  return state_->Unlink(digest);
}

Result<std::vector<oci::Digest>> Content::List() const {
  std::lock_guard guard(state_->mutex);
  std::vector<oci::Digest> digests;
  for (const auto& [digest, size] : state_->sizes) digests.push_back(digest);
  return digests;
}

DiskUsage Content::Usage() const {
  std::lock_guard guard(state_->mutex);
  DiskUsage usage;
  for (const auto& [digest, size] : state_->sizes) {
    usage.bytes += size;
    ++usage.inodes;
  }
  return usage;
}

}  // namespace davit::store
