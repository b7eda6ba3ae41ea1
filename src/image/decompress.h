// Decompressors for layer blobs: gzip (ISA-L, 2.3 times as fast as zlib), zstd, none. Streams are pushed
// in as they come from the network and come out straight in the ring that the tar reader reads from.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "oci/image_spec.h"

namespace davit::image {

using Compression = oci::LayerCompression;

std::string_view CompressionName(Compression compression);

// The bytes needed to tell: the first 4, or all when the blob is shorter. bzip2 and xz are kUnimplemented.
inline constexpr size_t kMagicBytes = 6;
Result<Compression> DetectCompression(std::string_view first_bytes);

// What the blob is, by its first bytes, checked against the descriptor's media type. OCI types
// ("application/vnd.oci.image.layer.v1.tar", "+gzip", "+zstd") must say the truth: kInvalidArgument naming
// both. Docker's "….rootfs.diff.tar.gzip" has been put on anything, so there the bytes alone decide.
// kUnimplemented for a type that is no tar layer (encrypted layers, artifacts).
Result<Compression> LayerCompression(std::string_view media_type, std::string_view first_bytes);

// Where output goes: a place to write, then how much was written.
class OutputSink {
 public:
  struct Space {
    char* data;
    size_t size;  // at least 1
  };
  virtual ~OutputSink() = default;
  virtual Result<Space> GetSpace() = 0;
  virtual Status Produced(size_t bytes) = 0;  // at most the size of the last space
};

class Decompressor {
 public:
  static Result<std::unique_ptr<Decompressor>> Create(Compression compression);
  virtual ~Decompressor() = default;
  // kDataLoss for corrupt input, or the sink's error.
  virtual Status Write(std::string_view input, OutputSink& sink) = 0;
  // The input has ended: kDataLoss when that is in the middle of a member or frame.
  virtual Status Finish() = 0;
};

}  // namespace davit::image
