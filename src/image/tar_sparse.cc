#include "image/tar_sparse.h"

#include <fmt/format.h>

#include <optional>

#include "base/strings.h"

namespace davit::image {

Status SparseMap::Add(uint64_t offset, uint64_t length) {
  if (offset > kMaxFile || length > kMaxFile) {
    return ResourceExhausted(
        fmt::format("sparse map: {} bytes at {} are over the limit of {}", length, offset, kMaxFile));
  }
  if (offset < end_)
    return InvalidArgument(fmt::format("sparse map: {} is behind the end {} of the piece before", offset, end_));
  end_ = offset + length;
  if (length == 0) return {};  // writers end a map with the file's size
  if (extents_.size() == kMaxExtents)
    return ResourceExhausted(fmt::format("sparse map of more than {} pieces", kMaxExtents));
  extents_.push_back({offset, length});
  stored_ += length;
  return {};
}

Status SparseMap::AddList(std::string_view list) {
  auto number = [&list]() -> std::optional<uint64_t> {
    size_t comma = list.find(',');
    std::optional<uint64_t> value = ParseUint64(list.substr(0, comma));
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    return value;
  };
  while (!list.empty()) {
    std::optional<uint64_t> offset = number();
    std::optional<uint64_t> length = list.empty() ? std::nullopt : number();
    if (!offset || !length) return InvalidArgument("sparse map is no list of pairs of numbers");
    RETURN_IF_ERROR(Add(*offset, *length));
  }
  return {};
}

Status SparseMap::Check(uint64_t file_size, uint64_t stored) const {
  if (file_size > kMaxFile) {
    return ResourceExhausted(fmt::format("sparse file of {} bytes is over the limit of {}", file_size, kMaxFile));
  }
  if (end_ > file_size) {
    return InvalidArgument(fmt::format("sparse map ends at {}, the file at {}", end_, file_size));
  }
  if (stored_ != stored) {
    return InvalidArgument(fmt::format("sparse map has {} bytes, the archive {}", stored_, stored));
  }
  return {};
}

}  // namespace davit::image
