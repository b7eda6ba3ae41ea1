// SPDY/3.1 header blocks: name and value pairs, compressed with zlib and the protocol's fixed dictionary.
//
// Source: the SPDY/3.1 draft, section 2.6.10. There is one compression state per direction for the whole
// connection, so blocks must be decoded in the order in which they arrived, each exactly once, even
// those of streams that are refused.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::http {

// Names are lower case. Several values of one name are joined with a NUL byte, as on the wire.
using SpdyHeaders = std::map<std::string, std::string, std::less<>>;

// The dictionary of section 2.6.10.1; its Adler-32 is 0xe3c6a7c2.
std::string SpdyDictionary();

inline constexpr size_t kMaxSpdyHeaderBlock = 64 * 1024;  // inflated
inline constexpr size_t kMaxSpdyHeaders = 256;

class SpdyHeaderDeflater {
 public:
  SpdyHeaderDeflater();
  ~SpdyHeaderDeflater();
  std::string Deflate(const SpdyHeaders& headers);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class SpdyHeaderInflater {
 public:
  SpdyHeaderInflater();
  ~SpdyHeaderInflater();
  // kInvalidArgument for damaged input, kResourceExhausted past a cap; the state is unusable after either.
  Result<SpdyHeaders> Inflate(std::string_view block);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace davit::http
