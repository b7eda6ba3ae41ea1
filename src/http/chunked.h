// The chunked transfer coding (RFC 9112 section 7.1), both ways. Trailers are read and forgotten.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::http {

class ChunkedDecoder {
 public:
  // Takes bytes off the front of `input` and appends what they carry to `body`; stops behind the last chunk's end.
  // kInvalidArgument when they are not of the coding.
  Status Decode(std::string_view& input, std::string& body);
  [[nodiscard]] bool done() const { return state_ == State::kDone; }

 private:
  enum class State { kSize, kData, kDataEnd, kTrailer, kDone };
  Status Line(std::string_view line);

  State state_ = State::kSize;
  std::string line_;
  uint64_t left_ = 0;
  size_t trailer_bytes_ = 0;
};

// `bytes` as one chunk; empty bytes would be the end, and give nothing.
std::string Chunk(std::string_view bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace davit::http
