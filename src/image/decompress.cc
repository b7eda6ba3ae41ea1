#include "image/decompress.h"

#include <fmt/format.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>

#include "base/strings.h"

namespace davit::image {
namespace {

class PlainDecompressor final : public Decompressor {
 public:
  Status Write(std::string_view input, OutputSink& sink) override {
    while (!input.empty()) {
      ASSIGN_OR_RETURN(OutputSink::Space space, sink.GetSpace());
      size_t size = std::min(space.size, input.size());
      std::memcpy(space.data, input.data(), size);
      RETURN_IF_ERROR(sink.Produced(size));
      input.remove_prefix(size);
    }
    return {};
  }
  Status Finish() override { return {}; }
};

// RFC 1952: a file is a series of members (pigz and estargz write many), each with its own checksum.
class GzipDecompressor final : public Decompressor {
 public:
  GzipDecompressor() { Restart(); }

  Status Write(std::string_view input, OutputSink& sink) override {
    // ISA-L never writes through next_in; its type is only not const.
    state_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));  // NOLINT
    state_.avail_in = static_cast<uint32_t>(input.size());
    while (true) {
      if (state_.block_state == ISAL_BLOCK_FINISH) {
        if (state_.avail_in == 0) return {};
        NextMember();
      }
      ASSIGN_OR_RETURN(OutputSink::Space space, sink.GetSpace());
      const auto room = static_cast<uint32_t>(std::min<size_t>(space.size, UINT32_MAX));
      state_.next_out = reinterpret_cast<uint8_t*>(space.data);
      state_.avail_out = room;
      int rc = isal_inflate(&state_);
      RETURN_IF_ERROR(sink.Produced(room - state_.avail_out));
      if (rc != ISAL_DECOMP_OK && rc != ISAL_END_INPUT && rc != ISAL_OUT_OVERFLOW) {
        return DataLoss(fmt::format("gzip stream is corrupt (igzip {})", rc));
      }
      // With room left and no input left there is nothing more to get; a full space may hide more.
      if (state_.avail_in == 0 && state_.avail_out > 0 && state_.block_state != ISAL_BLOCK_FINISH) return {};
    }
  }

  Status Finish() override {
    if (state_.block_state != ISAL_BLOCK_FINISH) return DataLoss("gzip stream is truncated");
    return {};
  }

 private:
  void Restart() {
    isal_inflate_init(&state_);
    state_.crc_flag = ISAL_GZIP;
  }
  void NextMember() {
    uint8_t* in = state_.next_in;
    uint32_t left = state_.avail_in;
    isal_inflate_reset(&state_);
    state_.crc_flag = ISAL_GZIP;
    state_.next_in = in;
    state_.avail_in = left;
  }
  inflate_state state_;
};

// 32 MiB: what the image tools' encoders write at their highest level. RFC 8878 asks for 8 MiB; only --ultra and --long
// write more, and who may say how much memory we take is a bomb.
constexpr unsigned kZstdWindowLog = 25;

class ZstdDecompressor final : public Decompressor {
 public:
  ~ZstdDecompressor() override { ZSTD_freeDStream(stream_); }

  Status Init() {
    stream_ = ZSTD_createDStream();
    if (stream_ == nullptr) return ResourceExhausted("zstd: out of memory");
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kZstdWindowLog);
    return {};
  }

  Status Write(std::string_view input, OutputSink& sink) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    bool full = false;
    while (in.pos < in.size || full) {
      ASSIGN_OR_RETURN(OutputSink::Space space, sink.GetSpace());
      ZSTD_outBuffer out{space.data, space.size, 0};
      size_t rc = ZSTD_decompressStream(stream_, &out, &in);
      RETURN_IF_ERROR(sink.Produced(out.pos));
      if (ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge) {
        return ResourceExhausted(
            fmt::format("a zstd frame has a window of more than {} MiB, all of which would have to be kept in memory: "
                        "compress it without --ultra or --long",
                        (1U << kZstdWindowLog) >> 20));
      }
      if (ZSTD_isError(rc) != 0) return DataLoss(fmt::format("zstd stream is corrupt: {}", ZSTD_getErrorName(rc)));
      in_frame_ = rc != 0;
      full = out.pos == out.size && in_frame_;
    }
    return {};
  }

  Status Finish() override {
    if (in_frame_) return DataLoss("zstd stream is truncated");
    return {};
  }

 private:
  ZSTD_DStream* stream_ = nullptr;
  bool in_frame_ = true;
};

}  // namespace

std::string_view CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "plain tar";
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
  }
  return "?";
}

Result<Compression> DetectCompression(std::string_view bytes) {
  if (bytes.starts_with("\x1f\x8b")) return Compression::kGzip;
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable frame (RFC 8878, 3.1.2): zstd:chunked and pzstd begin with one.
  if (bytes.size() >= 4 && (static_cast<unsigned char>(bytes[0]) & 0xf0) == 0x50 &&
      bytes.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::kZstd;
  }
  if (bytes.starts_with("BZh")) return Unimplemented("bzip2 layers are not supported");
  if (bytes.starts_with(std::string_view("\xfd"
                                         "7zXZ\0",
                                         6)))
    return Unimplemented("xz layers are not supported");
  return Compression::kNone;
}

Result<Compression> LayerCompression(std::string_view media_type, std::string_view first_bytes) {
  std::optional<oci::LayerKind> kind = oci::LayerKindOf(media_type);
  if (!kind) return Unimplemented(fmt::format("layer media type \"{}\" is not supported", Printable(media_type)));
  ASSIGN_OR_RETURN(Compression found, DetectCompression(first_bytes));
  if (media_type.starts_with("application/vnd.docker.")) return found;
  if (kind->compression != found) {
    return InvalidArgument(fmt::format("layer of media type \"{}\" is {}", media_type, CompressionName(found)));
  }
  return found;
}

Result<std::unique_ptr<Decompressor>> Decompressor::Create(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return std::unique_ptr<Decompressor>(std::make_unique<PlainDecompressor>());
    case Compression::kGzip:
      return std::unique_ptr<Decompressor>(std::make_unique<GzipDecompressor>());
    case Compression::kZstd: {
      auto zstd = std::make_unique<ZstdDecompressor>();
      RETURN_IF_ERROR(zstd->Init());
      return std::unique_ptr<Decompressor>(std::move(zstd));
    }
  }
  return Internal("unknown compression");
}

}  // namespace davit::image
