#include "sif/sif.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <cstring>
#include <set>

#include "base/strings.h"
#include "oci/json.h"

namespace davit::sif {
namespace {

constexpr std::string_view kMagic{"SIF_MAGIC\0", 10};
constexpr size_t kMagicAt = 32;
constexpr uint32_t kGroupMask = 0xf0000000;
constexpr size_t kMaxAssignments = 1024;
constexpr size_t kMaxValue = 64 << 10;

uint64_t Unsigned(std::string_view bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}
int32_t Int32(std::string_view bytes, size_t at) { return static_cast<int32_t>(Unsigned(bytes, at, 4)); }
int64_t Int64(std::string_view bytes, size_t at) { return static_cast<int64_t>(Unsigned(bytes, at, 8)); }

// Up to the first NUL.
std::string Text(std::string_view bytes) {
  return std::string(bytes.substr(0, std::min(bytes.find('\0'), bytes.size())));
}

std::string Architecture(std::string_view code) {
  static constexpr std::array<std::string_view, 13> kNames = {"",         "386",     "amd64",  "arm",    "arm64",
                                                              "ppc64",    "ppc64le", "mips",   "mipsle", "mips64",
                                                              "mips64le", "s390x",   "riscv64"};
  const auto number = ParseUint64(Text(code));
  return number && *number < kNames.size() ? std::string(kNames[*number]) : "";
}

std::string Hex(std::string_view bytes, bool upper) {
  std::string out;
  for (unsigned char c : bytes) out += upper ? fmt::format("{:02X}", c) : fmt::format("{:02x}", c);
  return out;
}

std::string Uuid(std::string_view bytes) {
  std::string hex = Hex(bytes, false);
  for (size_t at : {8, 13, 18, 23}) hex.insert(at, 1, '-');
  return hex;
}

// [offset, offset + size) within the file; both as the file has them, signed.
Status CheckRange(int64_t offset, int64_t size, uint64_t file_size, const std::string& what) {
  if (offset < 0 || size < 0) return InvalidArgument(what + " lies at a negative offset or has a negative size");
  const auto begin = static_cast<uint64_t>(offset);
  const auto length = static_cast<uint64_t>(size);
  if (begin <= file_size && length <= file_size - begin) return {};
  return DataLoss(fmt::format("{} takes bytes {} to {}, and the file has {}: it is cut or damaged", what, begin,
                              begin + length, file_size));
}

Result<Object> ParseDescriptor(std::string_view raw, uint64_t file_size) {
  Object object;
  object.type = static_cast<ObjectType>(Int32(raw, 0));
  object.id = static_cast<uint32_t>(Unsigned(raw, 5, 4));
  object.group = static_cast<uint32_t>(Unsigned(raw, 9, 4)) & ~kGroupMask;
  const auto link = static_cast<uint32_t>(Unsigned(raw, 13, 4));
  object.links_group = (link & kGroupMask) == kGroupMask;
  object.link = link & ~kGroupMask;
  const std::string what = fmt::format("object {} ({})", object.id, TypeName(object.type));
  RETURN_IF_ERROR(CheckRange(Int64(raw, 17), Int64(raw, 25), file_size, what));
  object.offset = Unsigned(raw, 17, 8);
  object.size = Unsigned(raw, 25, 8);
  object.created = Int64(raw, 41);
  object.name = Text(raw.substr(73, 128));
  const std::string_view extra = raw.substr(201, 384);
  if (object.type == ObjectType::kPartition) {
    object.partition = Partition{static_cast<Filesystem>(Int32(extra, 0)), static_cast<PartitionType>(Int32(extra, 4)),
                                 Architecture(extra.substr(8, 3))};
  }
  if (object.type == ObjectType::kSignature) {
    std::string_view entity = extra.substr(4, 20);
    const bool named = std::any_of(entity.begin(), entity.end(), [](char c) { return c != 0; });
    object.signature = Signature{Int32(extra, 0), named ? Hex(entity, true) : ""};
  }
  return object;
}

bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The beginning of what a shell decides: what follows may never be run.
bool IsFlow(std::string_view line) {
  static constexpr std::array<std::string_view, 9> kWords = {"if",       "case", "for", "while", "until",
                                                             "function", "{",    "(",   "return"};
  if (line.find("()") != std::string_view::npos) return true;
  return std::any_of(kWords.begin(), kWords.end(), [&](std::string_view word) {
    return line.starts_with(word) && (line.size() == word.size() || !IsNameChar(line[word.size()]));
  });
}

bool IsName(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), IsNameChar);
}

// A shell word that stands for itself: in one kind of quotes or none, without expansions or escapes.
std::optional<std::string> PlainWord(std::string_view word) {
  char quote = 0;
  if (!word.empty() && (word[0] == '"' || word[0] == '\'')) {
    quote = word[0];
    if (word.size() < 2 || word.back() != quote) return std::nullopt;
    word = word.substr(1, word.size() - 2);
  }
  const std::string_view special = quote == '\''  ? std::string_view("'\0", 2)
                                   : quote == '"' ? std::string_view("\"$`\\\0", 5)
                                                  : std::string_view(" \t\"'$`\\;&|<>()*?[]#~\0", 22);
  if (word.find_first_of(special) != std::string_view::npos || word.size() > kMaxValue) return std::nullopt;
  return std::string(word);
}

// "${NAME:-"value"}", as builders write what a Docker image has: the value, where NAME is this one.
std::optional<std::string> PlainDefault(std::string_view word, std::string_view name) {
  std::string_view inner = word;
  if (inner.size() >= 2 && inner.front() == '"' && inner.back() == '"') inner = inner.substr(1, inner.size() - 2);
  const std::string open = "${" + std::string(name) + ":-";
  if (!inner.starts_with(open) || !inner.ends_with('}')) return std::nullopt;
  return PlainWord(inner.substr(open.size(), inner.size() - open.size() - 1));
}

Result<std::map<std::string, std::string>> LabelMap(const oci::JsonNode& node) {
  std::map<std::string, std::string> labels;
  ASSIGN_OR_RETURN(auto members, node.Members());
  for (const auto& [name, value] : members) {
    // Some builders nest what they take from a schema.
    if (!value.is_string()) continue;
    ASSIGN_OR_RETURN(labels[name], value.String());
  }
  return labels;
}

}  // namespace

std::string TypeName(ObjectType type) {
  switch (type) {
    case ObjectType::kDefinitionFile:
      return "definition file";
    case ObjectType::kEnvironment:
      return "environment";
    case ObjectType::kLabels:
      return "labels";
    case ObjectType::kPartition:
      return "partition";
    case ObjectType::kSignature:
      return "signature";
    case ObjectType::kGenericJson:
      return "JSON";
    case ObjectType::kGeneric:
      return "data";
    case ObjectType::kCryptoMessage:
      return "crypto message";
    case ObjectType::kSbom:
      return "SBOM";
    case ObjectType::kOciRootIndex:
      return "OCI index";
    case ObjectType::kOciBlob:
      return "OCI blob";
  }
  return fmt::format("object of type {}", static_cast<int32_t>(type));
}

bool LooksLikeSif(std::string_view head) {
  return head.size() >= kMagicAt + kMagic.size() && head.substr(kMagicAt, kMagic.size()) == kMagic;
}

Result<Image> Parse(const ReadAt& read, uint64_t file_size) {
  if (file_size < kHeaderBytes) return InvalidArgument(fmt::format("{} bytes are no SIF file", file_size));
  ASSIGN_OR_RETURN(std::string header, read(0, kHeaderBytes));
  if (header.size() != kHeaderBytes || !LooksLikeSif(header)) return InvalidArgument("it is no SIF file: no SIF_MAGIC");
  if (std::string version = Text(std::string_view(header).substr(42, 3)); version != "01") {
    return Unimplemented(fmt::format("SIF of version \"{}\", only 01 is supported", Printable(version)));
  }
  Image image;
  image.architecture = Architecture(std::string_view(header).substr(45, 3));
  image.uuid = Uuid(std::string_view(header).substr(48, 16));
  image.created = Int64(header, 64);
  const int64_t total = Int64(header, 88);
  if (total < 0) return InvalidArgument("the SIF header has a negative number of descriptors");
  if (static_cast<uint64_t>(total) > kMaxDescriptors) {
    return ResourceExhausted(fmt::format("{} SIF descriptors are more than {}", total, kMaxDescriptors));
  }
  const size_t bytes = static_cast<size_t>(total) * kDescriptorBytes;
  const int64_t offset = Int64(header, 96);
  RETURN_IF_ERROR(CheckRange(offset, static_cast<int64_t>(bytes), file_size, "the table of descriptors"));
  ASSIGN_OR_RETURN(std::string table, read(static_cast<uint64_t>(offset), bytes));
  if (table.size() != bytes) return DataLoss("the table of descriptors is cut");
  std::set<uint32_t> ids;
  for (size_t at = 0; at < bytes; at += kDescriptorBytes) {
    std::string_view raw = std::string_view(table).substr(at, kDescriptorBytes);
    if (raw[4] == 0) continue;  // not in use
    ASSIGN_OR_RETURN(Object object, ParseDescriptor(raw, file_size));
    if (!ids.insert(object.id).second) return InvalidArgument(fmt::format("two SIF objects have id {}", object.id));
    image.objects.push_back(std::move(object));
  }
  return image;
}

Result<Object> RootPartition(const Image& image) {
  const Object* found = nullptr;
  for (const Object& object : image.objects) {
    if (!object.partition || object.partition->type != PartitionType::kPrimarySystem) continue;
    if (found != nullptr) return InvalidArgument("the SIF file has more than one primary system partition");
    found = &object;
  }
  if (found == nullptr) {
    const bool oci = std::any_of(image.objects.begin(), image.objects.end(),
                                 [](const Object& object) { return object.type == ObjectType::kOciRootIndex; });
    if (oci) return Unimplemented("it is an OCI-SIF file, which is not supported: convert it to SIF");
    return InvalidArgument("the SIF file has no primary system partition");
  }
  switch (found->partition->filesystem) {
    case Filesystem::kSquashfs:
      return *found;
    case Filesystem::kExt3:
      return Unimplemented("its root filesystem is ext3, only squashfs is supported: build it anew");
    case Filesystem::kEncryptedSquashfs:
      return Unimplemented("its root filesystem is encrypted, which is not supported");
    case Filesystem::kArchive:
      return Unimplemented("its root filesystem is an archive, only squashfs is supported");
    case Filesystem::kRaw:
      break;
  }
  return Unimplemented(fmt::format("its root filesystem is of kind {}, only squashfs is supported",
                                   static_cast<int32_t>(found->partition->filesystem)));
}

Result<Squashfs> ParseSquashfs(std::string_view superblock, uint64_t partition_size) {
  if (superblock.size() < kSquashfsSuperblockBytes || !superblock.starts_with("hsqs")) {
    return DataLoss("the partition is no squashfs: no \"hsqs\" at its beginning");
  }
  if (Unsigned(superblock, 28, 2) != 4 || Unsigned(superblock, 30, 2) != 0) {
    return Unimplemented(
        fmt::format("squashfs {}.{}, only 4.0 is supported", Unsigned(superblock, 28, 2), Unsigned(superblock, 30, 2)));
  }
  static constexpr std::array<std::string_view, 7> kCompressions = {"", "gzip", "lzma", "lzo", "xz", "lz4", "zstd"};
  Squashfs out;
  const uint64_t compression = Unsigned(superblock, 20, 2);
  if (compression == 0 || compression >= kCompressions.size()) {
    return DataLoss(fmt::format("squashfs with compression {}", compression));
  }
  out.compression = kCompressions[compression];
  const uint64_t block = Unsigned(superblock, 12, 4);
  const uint64_t log = Unsigned(superblock, 22, 2);
  if (log < 12 || log > 20 || block != uint64_t{1} << log) {
    return DataLoss(fmt::format("squashfs with blocks of {} bytes", block));
  }
  out.inodes = static_cast<uint32_t>(Unsigned(superblock, 4, 4));
  out.bytes = Unsigned(superblock, 40, 8);
  if (out.bytes < kSquashfsSuperblockBytes || out.bytes > partition_size) {
    return DataLoss(fmt::format("squashfs of {} bytes in a partition of {}: it is cut", out.bytes, partition_size));
  }
  constexpr uint64_t kNone = ~uint64_t{0};
  for (size_t at = 48; at < kSquashfsSuperblockBytes;
       at += 8) {  // id, xattr, inode, directory, fragment, export tables
    const uint64_t table = Unsigned(superblock, at, 8);
    if (table != kNone && table >= out.bytes) return DataLoss("squashfs with a table past its end");
  }
  return out;
}

Result<std::string> ReadObject(const ReadAt& read, const Object& object, size_t max) {
  if (object.size > max) {
    return ResourceExhausted(
        fmt::format("object {} ({}) has {} bytes, more than {}", object.id, TypeName(object.type), object.size, max));
  }
  ASSIGN_OR_RETURN(std::string data, read(object.offset, static_cast<size_t>(object.size)));
  if (data.size() != object.size) return DataLoss(fmt::format("object {} is cut", object.id));
  return data;
}

Result<std::map<std::string, std::string>> ParseLabels(std::string_view json) {
  ASSIGN_OR_RETURN(boost::json::value document, oci::ParseJson(json, kMaxObjectText));
  oci::JsonNode root(document, "labels");
  for (const oci::JsonNode& inner :
       {root.Key("data").is_object() ? root.Key("data").Key("attributes").Key("labels") : root.Key("data"),
        root.Key("system-partition")}) {
    if (inner.is_object()) return LabelMap(inner);
  }
  return LabelMap(root);
}

std::vector<std::string> PlainAssignments(std::string_view script) {
  std::map<std::string, std::string> values;
  std::vector<std::string> order;
  for (std::string_view rest = script; !rest.empty() && order.size() < kMaxAssignments;) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = Trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (IsFlow(line)) break;
    if (line.starts_with("export ")) line = Trim(line.substr(7));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos || !IsName(line.substr(0, equals))) continue;
    const std::string name(line.substr(0, equals));
    const std::string_view word = line.substr(equals + 1);
    std::optional<std::string> value = PlainDefault(word, name);
    if (!value) value = PlainWord(word);
    if (!value) {
      // Its last word needs a shell: what an earlier line said is not it.
      if (values.erase(name) != 0) std::erase(order, name);
      continue;
    }
    if (values.find(name) == values.end()) order.push_back(name);
    values[name] = std::move(*value);
  }
  std::vector<std::string> out;
  out.reserve(order.size());
  for (const std::string& name : order) out.push_back(name + "=" + values[name]);
  return out;
}

SignatureKind KindOfSignature(std::string_view data) {
  SignatureKind kind{"unknown", false};
  if (data.starts_with("-----BEGIN PGP SIGNED MESSAGE-----")) {
    kind.format = "pgp";
    kind.legacy = data.find("\nSIFHASH:\n") != std::string_view::npos;
  } else if (data.starts_with("{") && data.find("\"payloadType\"") != std::string_view::npos) {
    kind.format = "dsse";
  }
  return kind;
}

}  // namespace davit::sif
