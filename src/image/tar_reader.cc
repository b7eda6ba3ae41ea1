#include "image/tar_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/strings.h"

namespace davit::image {
namespace {

constexpr size_t kBlock = 512;

// Field offsets and widths of a header block (IEEE 1003.1 ustar; GNU shares them up to magic).
struct Field {
  size_t at;
  size_t width;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kMtime{136, 12},
    kChecksum{148, 8}, kLink{157, 100}, kMajor{329, 8}, kMinor{337, 8}, kPrefix{345, 155};
constexpr size_t kTypeAt = 156, kMagicAt = 257;

std::string_view Raw(const char* block, Field field) { return {block + field.at, field.width}; }

std::string_view UpToNul(std::string_view text) { return text.substr(0, text.find('\0')); }

// Octal text, or base-256 when the first byte's top bit is set (GNU). nullopt when malformed or outside int64.
std::optional<int64_t> ParseNumber(std::string_view field) {
  const auto first = static_cast<unsigned char>(field[0]);
  if ((first & 0x80) != 0) {
    const bool negative = (first & 0x40) != 0;
    uint64_t value = negative ? ~0ULL : 0;
    for (size_t i = 0; i < field.size(); ++i) {
      auto byte = static_cast<unsigned char>(field[i]);
      if (i == 0) byte = negative ? (byte | 0x80) : (byte & 0x7f);
      // The bits shifted out must be copies of the sign, and the result must keep it.
      if ((value >> 55) != (negative ? 0x1ffU : 0U)) return std::nullopt;
      value = (value << 8) | byte;
    }
    return static_cast<int64_t>(value);
  }
  size_t begin = field.find_first_not_of(' ');
  if (begin == std::string_view::npos) return 0;
  field = UpToNul(field.substr(begin));
  size_t end = field.find_last_not_of(' ');
  field = end == std::string_view::npos ? std::string_view() : field.substr(0, end + 1);
  uint64_t value = 0;
  for (char c : field) {
    if (c < '0' || c > '7' || value >> 60 != 0) return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return static_cast<int64_t>(value);
}

bool AllZero(const char* block) {
  return std::all_of(block, block + kBlock, [](char c) { return c == 0; });
}

// Some old writers summed signed chars; both are accepted, as every reader does.
bool ChecksumFits(const char* block) {
  std::optional<int64_t> wanted = ParseNumber(Raw(block, kChecksum));
  if (!wanted) return false;
  int64_t unsigned_sum = 0;
  int64_t signed_sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    char c = i >= kChecksum.at && i < kChecksum.at + kChecksum.width ? ' ' : block[i];
    unsigned_sum += static_cast<unsigned char>(c);
    signed_sum += static_cast<signed char>(c);
  }
  return *wanted == unsigned_sum || *wanted == signed_sum;
}

struct Mtime {
  int64_t seconds = 0;
  uint32_t nanos = 0;
};

// PAX time: decimal seconds with an optional fraction; digits past nanoseconds are dropped.
std::optional<Mtime> ParsePaxTime(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  size_t dot = text.find('.');
  std::string_view whole = text.substr(0, dot);
  std::optional<int64_t> seconds = whole == "-" ? std::nullopt : ParseInt64(whole);
  if (!seconds) return std::nullopt;
  uint32_t nanos = 0;
  if (dot != std::string_view::npos) {
    std::string_view fraction = text.substr(dot + 1);
    uint32_t unit = 100'000'000;
    for (char c : fraction) {
      if (c < '0' || c > '9') return std::nullopt;
      nanos += static_cast<uint32_t>(c - '0') * unit;
      unit /= 10;
    }
  }
  Mtime out{*seconds, nanos};
  if (negative && nanos > 0) {
    if (out.seconds == INT64_MIN) return std::nullopt;
    out.seconds -= 1;
    out.nanos = 1'000'000'000 - nanos;
  }
  return out;
}

std::optional<TarType> TypeOf(char flag) {
  switch (flag) {
    case '0':
    case '\0':
    case '7':
      return TarType::kRegular;  // '7': contiguous file, which nobody treats otherwise
    case '1':
      return TarType::kHardLink;
    case '2':
      return TarType::kSymlink;
    case '3':
      return TarType::kCharDevice;
    case '4':
      return TarType::kBlockDevice;
    case '5':
      return TarType::kDirectory;
    case '6':
      return TarType::kFifo;
    default:
      return std::nullopt;
  }
}

}  // namespace

// What extended headers say about the entry that follows them.
struct TarReader::Extended {
  std::optional<std::string> name, link_name;
  std::optional<uint64_t> size, uid, gid;
  std::optional<Mtime> mtime;
  std::vector<std::pair<std::string, std::string>> xattrs;

  struct Sparse {
    uint64_t major = 0;
    std::optional<uint64_t> size;    // of the file
    std::optional<uint64_t> offset;  // version 0.0: of the piece whose length comes next
    std::optional<std::string> name;
    SparseMap map;
  };
  std::optional<Sparse> sparse;
};

Result<std::string_view> TarReader::Take(size_t max) {
  if (piece_.empty()) {
    ASSIGN_OR_RETURN(piece_, source_.Next());
  }
  std::string_view out = piece_.substr(0, max);
  piece_.remove_prefix(out.size());
  return out;
}

Result<std::string_view> TarReader::TakeTapped(size_t max) {
  ASSIGN_OR_RETURN(std::string_view piece, Take(max));
  if (tap_ != nullptr && !piece.empty()) RETURN_IF_ERROR(tap_->Raw(piece));
  return piece;
}

// False at the end of the source before the first byte of the block.
Result<bool> TarReader::ReadBlock(char* block) {
  size_t have = 0;
  while (have < kBlock) {
    ASSIGN_OR_RETURN(std::string_view piece, TakeTapped(kBlock - have));
    if (piece.empty()) {
      if (have == 0) return false;
      return DataLoss(fmt::format("tar ends within a header after \"{}\"", Printable(current_)));
    }
    std::memcpy(block + have, piece.data(), piece.size());
    have += piece.size();
  }
  return true;
}

Status TarReader::SkipData() {
  uint64_t left = data_left_ + padding_left_;
  while (left > 0) {
    if (tap_ == nullptr && piece_.empty() && source_.Skip(left)) break;
    ASSIGN_OR_RETURN(std::string_view piece, TakeTapped(left));
    if (piece.empty()) return DataLoss(fmt::format("tar ends within the data of \"{}\"", Printable(current_)));
    left -= piece.size();
  }
  data_left_ = 0;
  padding_left_ = 0;
  return {};
}

Result<std::string_view> TarReader::Data() {
  if (data_left_ == 0) return std::string_view();
  ASSIGN_OR_RETURN(std::string_view piece, Take(data_left_));
  if (piece.empty()) return DataLoss(fmt::format("tar ends within the data of \"{}\"", Printable(current_)));
  data_left_ -= piece.size();
  return piece;
}

Status TarReader::Drain() {
  while (true) {
    ASSIGN_OR_RETURN(std::string_view piece, TakeTapped(SIZE_MAX));
    if (piece.empty()) return {};
  }
}

Result<std::string> TarReader::ReadExtended(uint64_t size, std::string_view what) {
  if (size > limits_.max_extended_header) {
    return ResourceExhausted(fmt::format("tar {} of {} bytes after \"{}\" is over the limit of {} bytes", what, size,
                                         Printable(current_), limits_.max_extended_header));
  }
  data_left_ = size;
  padding_left_ = static_cast<uint32_t>((kBlock - size % kBlock) % kBlock);
  std::string text;
  text.reserve(size);
  while (text.size() < size) {
    ASSIGN_OR_RETURN(std::string_view piece, Data());
    if (tap_ != nullptr) RETURN_IF_ERROR(tap_->Raw(piece));
    text.append(piece);
  }
  RETURN_IF_ERROR(SkipData());
  return text;
}

// Records "LENGTH KEY=VALUE\n", LENGTH counting the whole record.
Status TarReader::ParsePax(std::string_view text, bool apply, Extended& extended) {
  while (!text.empty()) {
    size_t space = text.find(' ');
    std::optional<uint64_t> length =
        space == std::string_view::npos ? std::nullopt : ParseUint64(text.substr(0, space));
    if (!length || *length > text.size() || *length < space + 3 || text[*length - 1] != '\n') {
      return InvalidArgument(fmt::format("malformed PAX record after \"{}\"", Printable(current_)));
    }
    std::string_view record = text.substr(space + 1, *length - space - 2);
    text.remove_prefix(*length);
    size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return InvalidArgument(fmt::format("PAX record without a key after \"{}\"", Printable(current_)));
    }
    std::string_view key = record.substr(0, equals);
    std::string_view value = record.substr(equals + 1);
    auto malformed = [&] { return InvalidArgument(fmt::format("PAX {} \"{}\" is malformed", key, Printable(value))); };
    if (!apply) continue;
    constexpr std::string_view kSparse = "GNU.sparse.";
    if (key.starts_with(kSparse)) {
      RETURN_IF_ERROR(ParseSparseKey(key.substr(kSparse.size()), value, extended)
                          .Annotate(fmt::format("after \"{}\"", Printable(current_))));
      continue;
    }
    constexpr std::string_view kXattr = "SCHILY.xattr.";
    if (key.starts_with(kXattr)) {
      key.remove_prefix(kXattr.size());
      if (key.empty() || key.size() > 255 || key.find('\0') != std::string_view::npos) {
        return InvalidArgument(fmt::format("extended attribute name \"{}\" is malformed", Printable(key)));
      }
      extended.xattrs.emplace_back(key, value);
      continue;
    }
    // An empty value takes back an earlier record (POSIX pax, "Extended Header").
    if (key == "path") {
      extended.name = value.empty() ? std::nullopt : std::optional<std::string>(value);
    } else if (key == "linkpath") {
      extended.link_name = value.empty() ? std::nullopt : std::optional<std::string>(value);
    } else if (key == "size") {
      extended.size = ParseUint64(value);
      if (!value.empty() && !extended.size) return malformed();
    } else if (key == "uid") {
      extended.uid = ParseUint64(value);
      if (!value.empty() && !extended.uid) return malformed();
    } else if (key == "gid") {
      extended.gid = ParseUint64(value);
      if (!value.empty() && !extended.gid) return malformed();
    } else if (key == "mtime") {
      extended.mtime = ParsePaxTime(value);
      if (!value.empty() && !extended.mtime) return malformed();
    }
  }
  return {};
}

namespace {

Status CheckName(std::string_view name, std::string_view what, size_t max) {
  if (name.empty()) return InvalidArgument(fmt::format("tar entry with an empty {}", what));
  if (name.size() > max) {
    return ResourceExhausted(
        fmt::format("{} \"{}\" of {} bytes is over the limit of {}", what, Printable(name), name.size(), max));
  }
  if (name.find('\0') != std::string_view::npos) {
    return InvalidArgument(fmt::format("{} \"{}\" has a zero byte", what, Printable(name)));
  }
  return {};
}

Result<uint32_t> Number32(const char* block, Field field, std::string_view what, std::string_view name, uint64_t max) {
  std::optional<int64_t> value = ParseNumber(Raw(block, field));
  if (!value || *value < 0 || static_cast<uint64_t>(*value) > max) {
    return InvalidArgument(fmt::format("{} of \"{}\" is malformed", what, Printable(name)));
  }
  return static_cast<uint32_t>(*value);
}

// The fields that stand in the header block itself. (uid_t)-1 means "leave" to chown(2): not a valid owner.
Result<TarEntry> ParseHeader(const char* block, TarType type) {
  TarEntry entry;
  entry.type = type;
  std::string_view magic(block + kMagicAt, 8);
  const bool posix = magic.starts_with(std::string_view("ustar\0", 6));
  entry.name = UpToNul(Raw(block, kName));
  if (posix) {  // GNU keeps times where ustar has the prefix
    std::string_view prefix = UpToNul(Raw(block, kPrefix));
    if (!prefix.empty()) entry.name = fmt::format("{}/{}", prefix, entry.name);
  }
  if (type == TarType::kHardLink || type == TarType::kSymlink) entry.link_name = UpToNul(Raw(block, kLink));
  ASSIGN_OR_RETURN(entry.mode, Number32(block, kMode, "mode", entry.name, UINT32_MAX));
  entry.mode &= 07777;
  std::optional<int64_t> mtime = ParseNumber(Raw(block, kMtime));
  if (!mtime) return InvalidArgument(fmt::format("mtime of \"{}\" is malformed", Printable(entry.name)));
  entry.mtime_seconds = *mtime;
  if (type == TarType::kCharDevice || type == TarType::kBlockDevice) {
    ASSIGN_OR_RETURN(entry.device_major, Number32(block, kMajor, "device number", entry.name, 0xfff));
    ASSIGN_OR_RETURN(entry.device_minor, Number32(block, kMinor, "device number", entry.name, 0xfffff));
  }
  return entry;
}

Result<uint32_t> Owner(const char* block, Field field, std::optional<uint64_t> pax, std::string_view what,
                       std::string_view name) {
  if (!pax) return Number32(block, field, what, name, UINT32_MAX - 1);
  if (*pax >= UINT32_MAX)
    return InvalidArgument(fmt::format("{} {} of \"{}\" is out of range", what, *pax, Printable(name)));
  return static_cast<uint32_t>(*pax);
}

}  // namespace

Result<std::optional<TarEntry>> TarReader::Next() {
  RETURN_IF_ERROR(SkipData());
  Extended extended;
  // An entry has at most one header of each kind in front; more is a way to keep us busy.
  for (int headers = 0; headers < 16; ++headers) {
    char block[kBlock];
    ASSIGN_OR_RETURN(bool more, ReadBlock(block));
    if (!more) return std::optional<TarEntry>();
    if (AllZero(block)) {
      ASSIGN_OR_RETURN(more, ReadBlock(block));
      if (more && !AllZero(block)) {
        return InvalidArgument(fmt::format("tar goes on after its end mark, after \"{}\"", Printable(current_)));
      }
      return std::optional<TarEntry>();
    }
    if (!ChecksumFits(block)) {
      return InvalidArgument(fmt::format("tar header after \"{}\" has a wrong checksum", Printable(current_)));
    }
    const char flag = block[kTypeAt];
    std::optional<int64_t> size = ParseNumber(Raw(block, kSize));
    if (!size || *size < 0) {
      return InvalidArgument(fmt::format("size in the tar header after \"{}\" is malformed", Printable(current_)));
    }
    if (flag == 'x' || flag == 'g') {
      ASSIGN_OR_RETURN(std::string text, ReadExtended(static_cast<uint64_t>(*size), "PAX header"));
      RETURN_IF_ERROR(ParsePax(text, flag == 'x', extended));
      continue;
    }
    if (flag == 'L' || flag == 'K') {
      ASSIGN_OR_RETURN(std::string text, ReadExtended(static_cast<uint64_t>(*size), "long name"));
      (flag == 'L' ? extended.name : extended.link_name) = std::string(UpToNul(text));
      continue;
    }
    std::optional<TarType> type = flag == 'S' ? TarType::kRegular : TypeOf(flag);
    if (!type) {
      return Unimplemented(fmt::format("tar entry \"{}\" has the unknown type \"{}\"",
                                       Printable(UpToNul(Raw(block, kName))), Printable(std::string_view(&flag, 1))));
    }
    if (++entries_ > limits_.max_entries) {
      return ResourceExhausted(fmt::format("layer has more than {} entries", limits_.max_entries));
    }
    ASSIGN_OR_RETURN(TarEntry entry, ParseHeader(block, *type));
    if (extended.name) entry.name = std::move(*extended.name);
    if (extended.sparse && extended.sparse->name) entry.name = std::move(*extended.sparse->name);
    RETURN_IF_ERROR(CheckName(entry.name, "name", limits_.max_name));
    current_ = entry.name;
    if (type == TarType::kHardLink || type == TarType::kSymlink) {
      if (extended.link_name) entry.link_name = std::move(*extended.link_name);
      RETURN_IF_ERROR(CheckName(entry.link_name, "link target", limits_.max_name).Annotate(Printable(entry.name)));
    }
    ASSIGN_OR_RETURN(entry.uid, Owner(block, kUid, extended.uid, "uid", entry.name));
    ASSIGN_OR_RETURN(entry.gid, Owner(block, kGid, extended.gid, "gid", entry.name));
    if (extended.mtime) {
      entry.mtime_seconds = extended.mtime->seconds;
      entry.mtime_nanos = extended.mtime->nanos;
    }
    entry.xattrs = std::move(extended.xattrs);
    // v7 had no type for directories but a trailing slash.
    if (entry.type == TarType::kRegular && entry.name.back() == '/') entry.type = TarType::kDirectory;
    // Only regular files have data, whatever size says: GNU and star write sizes for links, and a reader
    // that believed them would see other entries than all others do.
    if (entry.type == TarType::kRegular) {
      entry.size = extended.size.value_or(static_cast<uint64_t>(*size));
      if (entry.size > INT64_MAX)
        return InvalidArgument(fmt::format("size of \"{}\" is out of range", Printable(entry.name)));
      if (flag == 'S') RETURN_IF_ERROR(ReadOldSparse(block, entry).Annotate(Printable(entry.name)));
      data_left_ = flag == 'S' ? static_cast<uint64_t>(*size) : entry.size;
      padding_left_ = static_cast<uint32_t>((kBlock - data_left_ % kBlock) % kBlock);
      if (extended.sparse) RETURN_IF_ERROR(ReadSparse(extended, entry).Annotate(Printable(entry.name)));
    }
    return std::optional<TarEntry>(std::move(entry));
  }
  return InvalidArgument(fmt::format("too many extended headers after \"{}\"", Printable(current_)));
}

Status TarReader::ParseSparseKey(std::string_view key, std::string_view value, Extended& extended) {
  if (!extended.sparse) extended.sparse.emplace();
  Extended::Sparse& sparse = *extended.sparse;
  if (key == "name") {
    sparse.name = std::string(value);
    return {};
  }
  if (key == "map") return sparse.map.AddList(value);
  std::optional<uint64_t> number = ParseUint64(value);
  if (!number) return InvalidArgument(fmt::format("PAX GNU.sparse.{} \"{}\" is malformed", key, Printable(value)));
  if (key == "major") {
    if (*number > 1) return Unimplemented(fmt::format("sparse format {}", *number));
    sparse.major = *number;
  } else if (key == "size" || key == "realsize") {
    sparse.size = number;
  } else if (key == "offset") {
    sparse.offset = number;
  } else if (key == "numbytes") {
    if (!sparse.offset) return InvalidArgument("PAX GNU.sparse.numbytes without an offset");
    return sparse.map.Add(*std::exchange(sparse.offset, std::nullopt), *number);
  }
  return {};  // minor, numblocks: the map says it too
}

Status TarReader::ReadOldSparse(const char* block, TarEntry& entry) {
  constexpr size_t kPair = 24, kInHeader = 4, kInBlock = 21;
  constexpr size_t kFirst = 386, kExtendedAt = 482;
  constexpr Field kRealSize{483, 12};
  SparseMap map;
  auto add = [&](const char* at, size_t count) -> Status {
    for (size_t i = 0; i < count; ++i, at += kPair) {
      if (at[0] == 0 && at[12] == 0) return {};  // the map ends
      std::optional<int64_t> offset = ParseNumber({at, 12});
      std::optional<int64_t> length = ParseNumber({at + 12, 12});
      if (!offset || !length || *offset < 0 || *length < 0) return InvalidArgument("sparse map is malformed");
      RETURN_IF_ERROR(map.Add(static_cast<uint64_t>(*offset), static_cast<uint64_t>(*length)));
    }
    return {};
  };
  std::optional<int64_t> real = ParseNumber(Raw(block, kRealSize));
  if (!real || *real < 0) return InvalidArgument("size of the sparse file is malformed");
  RETURN_IF_ERROR(add(block + kFirst, kInHeader));
  char more[kBlock];
  // A block that adds nothing would let the blocks go on for ever.
  for (bool goes_on = block[kExtendedAt] != 0; goes_on; goes_on = more[kPair * kInBlock] != 0) {
    const size_t before = map.extents().size();
    ASSIGN_OR_RETURN(bool read, ReadBlock(more));
    if (!read) return DataLoss("tar ends within a sparse map");
    RETURN_IF_ERROR(add(more, kInBlock));
    if (map.extents().size() == before) break;
  }
  RETURN_IF_ERROR(map.Check(static_cast<uint64_t>(*real), entry.size));
  entry.size = static_cast<uint64_t>(*real);
  entry.sparse = true;
  entry.extents = map.Take();
  return {};
}

// Decimal numbers, each on a line: how many pieces, then offset and length of each, padded to whole blocks.
Status TarReader::ReadSparseMap(SparseMap& map) {
  char block[kBlock];
  size_t at = kBlock;
  auto number = [&]() -> Result<uint64_t> {
    std::string digits;
    for (;;) {
      if (at == kBlock) {
        if (data_left_ < kBlock) return InvalidArgument("sparse map is longer than the data");
        ASSIGN_OR_RETURN(bool read, ReadBlock(block));
        if (!read) return DataLoss("tar ends within a sparse map");
        data_left_ -= kBlock;
        at = 0;
      }
      const char c = block[at++];
      if (c == '\n') break;
      if (digits.size() == 20) return InvalidArgument("sparse map: a number is too long");
      digits += c;
    }
    std::optional<uint64_t> value = ParseUint64(digits);
    if (!value) return InvalidArgument(fmt::format("sparse map: \"{}\" is no number", Printable(digits)));
    return *value;
  };
  ASSIGN_OR_RETURN(uint64_t count, number());
  if (count > SparseMap::kMaxExtents) {
    return ResourceExhausted(fmt::format("sparse map of {} pieces, the limit is {}", count, SparseMap::kMaxExtents));
  }
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(uint64_t offset, number());
    ASSIGN_OR_RETURN(uint64_t length, number());
    RETURN_IF_ERROR(map.Add(offset, length));
  }
  return {};
}

Status TarReader::ReadSparse(Extended& extended, TarEntry& entry) {
  Extended::Sparse& sparse = *extended.sparse;
  if (!sparse.size) return InvalidArgument("sparse file without a size");
  if (sparse.major == 1) RETURN_IF_ERROR(ReadSparseMap(sparse.map));
  RETURN_IF_ERROR(sparse.map.Check(*sparse.size, data_left_));
  entry.size = *sparse.size;
  entry.sparse = true;
  entry.extents = sparse.map.Take();
  return {};
}

}  // namespace davit::image
