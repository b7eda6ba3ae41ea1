#include "image/artifact_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/strings.h"
#include "image/sha256.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

// What LayerWriter keeps free for a layer's files (PullLimits::min_free_bytes), looked at once: the size is known.
Status CheckSpace(int root, uint64_t size, uint64_t min_free, const std::string& path) {
  struct statvfs fs {};
  if (::fstatvfs(root, &fs) != 0) return ErrnoError(errno, "statvfs " + path);
  const uint64_t free = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  const uint64_t reserve = std::min(min_free, static_cast<uint64_t>(fs.f_blocks) * fs.f_frsize / 20);
  if (free >= reserve && free - reserve >= size) return {};
  return ResourceExhausted(fmt::format("no space left on the filesystem of {}: {} are free, {} of them are kept", path,
                                       HumanBytes(free), HumanBytes(reserve)));
}

}  // namespace

Result<LayerTotals> WriteArtifactFile(const ArtifactFile& file, const std::string& root, const PullLimits& limits,
                                      PipelineCounters& counters, const FetchBlob& fetch) {
  const std::string intent = fmt::format("blob {} (\"{}\")", file.blob.digest.ToString(), Printable(file.path));
  const uint64_t size = file.blob.size;
  if (size > limits.max_layer_bytes) {
    return ResourceExhausted(fmt::format("{} has more than {}", intent, HumanBytes(limits.max_layer_bytes)));
  }
  if (counters.bytes_unpacked.fetch_add(size) + size > limits.max_image_bytes) {
    return ResourceExhausted(
        fmt::format("{}: the artifact has more than {}", intent, HumanBytes(limits.max_image_bytes)));
  }
  ASSIGN_OR_RETURN(sys::UniqueFd directory, sys::Open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  RETURN_IF_ERROR(CheckSpace(directory.get(), size, limits.min_free_bytes, root));
  LayerTotals totals{size, 1};
  const size_t slash = file.path.rfind('/');
  if (slash != std::string::npos) {
    const std::string parents = file.path.substr(0, slash);
    totals.entries += 1 + static_cast<uint64_t>(std::count(parents.begin(), parents.end(), '/'));
    ASSIGN_OR_RETURN_WITH(directory, sys::MakeDirectoriesInRoot(directory.get(), parents, 0755), intent);
  }
  const std::string name = slash == std::string::npos ? file.path : file.path.substr(slash + 1);
  sys::UniqueFd out(
      ::openat(directory.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!out.valid()) return ErrnoError(errno, intent);
  Sha256 hash;
  uint64_t written = 0;
  Status fetched = fetch([&](std::string_view bytes) -> Status {
    if (bytes.size() > size - written)
      return DataLoss(fmt::format("it is longer than the {} bytes of its descriptor", size));
    written += bytes.size();
    counters.bytes_done += bytes.size();
    hash.Update(bytes);
    return sys::WriteAll(out.get(), bytes);
  });
  RETURN_IF_ERROR(fetched.Annotate(intent));
  if (written != size) return DataLoss(fmt::format("{} has {} bytes, its descriptor says {}", intent, written, size));
  if (hash.Finish() != file.blob.digest) return Aborted(fmt::format("{} has another digest", intent));
  return totals;
}

}  // namespace davit::image
