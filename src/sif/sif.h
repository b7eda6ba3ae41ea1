// SIF: the image files of Singularity and Apptainer. A header, a table of descriptors and the objects that they name:
// a squashfs with the root filesystem, the definition file, labels, signatures.
//
// Pure: reads through a function, maps and allocates little, and checks every number against the file's size. What the
// squashfs holds is the kernel's business (docs/adr/0024-sif.md). Source of the layout: the SIF specification of
// github.com/sylabs/sif (v1, "01"); all integers little-endian, structures packed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::sif {

inline constexpr size_t kHeaderBytes = 128;
inline constexpr size_t kDescriptorBytes = 585;
inline constexpr uint64_t kMaxDescriptors = 4096;          // writers make 48
inline constexpr size_t kMaxObjectText = size_t{1} << 20;  // of an object that is read whole

enum class ObjectType : int32_t {
  kDefinitionFile = 0x4001,
  kEnvironment = 0x4002,
  kLabels = 0x4003,
  kPartition = 0x4004,
  kSignature = 0x4005,
  kGenericJson = 0x4006,
  kGeneric = 0x4007,
  kCryptoMessage = 0x4008,
  kSbom = 0x4009,
  kOciRootIndex = 0x400A,
  kOciBlob = 0x400B,
};
// "partition", "labels", …; "object of type N" for others.
std::string TypeName(ObjectType type);

enum class Filesystem : int32_t { kSquashfs = 1, kExt3 = 2, kArchive = 3, kRaw = 4, kEncryptedSquashfs = 5 };
enum class PartitionType : int32_t { kSystem = 1, kPrimarySystem = 2, kData = 3, kOverlay = 4 };

struct Partition {
  Filesystem filesystem{};
  PartitionType type{};
  std::string architecture;  // as OCI names it: "amd64"; empty: unknown
};

struct Signature {
  int32_t hash = 0;         // 1 SHA-256, 2 SHA-384, 3 SHA-512, 4 BLAKE2s-256, 5 BLAKE2b-256
  std::string fingerprint;  // of the OpenPGP key, upper-case hex; empty: none is named (DSSE)
};

struct Object {
  ObjectType type{};
  uint32_t id = 0;
  uint32_t group = 0;  // 0: none
  uint32_t link = 0;   // what it belongs to: an object, or a group where `links_group`; 0: nothing
  bool links_group = false;
  uint64_t offset = 0;  // in the file; offset + size lie within it
  uint64_t size = 0;
  int64_t created = 0;  // seconds
  std::string name;     // bytes as they are: untrusted, up to 128
  std::optional<Partition> partition;
  std::optional<Signature> signature;
};

struct Image {
  std::string architecture;  // of the header; empty: unknown
  std::string uuid;          // 8-4-4-4-12 hex
  int64_t created = 0;       // seconds
  std::vector<Object> objects;
};

// `size` bytes from `offset`, all of them: an error where the file ends before.
using ReadAt = std::function<Result<std::string>(uint64_t offset, size_t size)>;

// Whether these first bytes of a file say that it is one.
bool LooksLikeSif(std::string_view head);

// The header and all descriptors in use. kInvalidArgument: it is no SIF file, or says what cannot be; kDataLoss: an
// object reaches past the end of the file, which is what a cut file looks like; kUnimplemented: another version;
// kResourceExhausted: more than kMaxDescriptors.
Result<Image> Parse(const ReadAt& read, uint64_t file_size);

// The one root filesystem. kInvalidArgument: there is none or more than one; kUnimplemented with what it is, for
// ext3, encrypted and other partitions and for OCI-SIF.
Result<Object> RootPartition(const Image& image);

// The superblock of a squashfs 4.0 that lies within the partition. kDataLoss naming what does not fit.
struct Squashfs {
  std::string compression;  // "gzip", "lzma", "lzo", "xz", "lz4", "zstd"
  uint32_t inodes = 0;
  uint64_t bytes = 0;  // used of the partition
};
inline constexpr size_t kSquashfsSuperblockBytes = 96;
Result<Squashfs> ParseSquashfs(std::string_view superblock, uint64_t partition_size);

// An object's bytes. kResourceExhausted over `max`.
Result<std::string> ReadObject(const ReadAt& read, const Object& object, size_t max = kMaxObjectText);

// Labels as builders write them: {"name": "value"} or {"data": {"attributes": {"labels": {…}}}} or, before 3.0,
// {"system-partition": {…}}.
Result<std::map<std::string, std::string>> ParseLabels(std::string_view json);

// Assignments of an environment script that need no shell to be understood: `export NAME=value`, with or without
// quotes, and `export NAME="${NAME:-"value"}"`. Whatever needs one is left out: the image's own scripts run in it.
std::vector<std::string> PlainAssignments(std::string_view script);

// What a signature object says of itself, without checking it.
struct SignatureKind {
  std::string format;  // "pgp", "dsse" or "unknown"
  bool legacy = false;
};
SignatureKind KindOfSignature(std::string_view data);

}  // namespace davit::sif
