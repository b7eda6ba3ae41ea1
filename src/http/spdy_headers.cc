#include "http/spdy_headers.h"

#include <zlib.h>

#include <array>
#include <cstdint>
#include <new>

namespace davit::http {
namespace {

// The length-prefixed names of section 2.6.10.1, in its order.
constexpr std::array<std::string_view, 65> kDictionaryNames = {"options",
                                                               "head",
                                                               "post",
                                                               "put",
                                                               "delete",
                                                               "trace",
                                                               "accept",
                                                               "accept-charset",
                                                               "accept-encoding",
                                                               "accept-language",
                                                               "accept-ranges",
                                                               "age",
                                                               "allow",
                                                               "authorization",
                                                               "cache-control",
                                                               "connection",
                                                               "content-base",
                                                               "content-encoding",
                                                               "content-language",
                                                               "content-length",
                                                               "content-location",
                                                               "content-md5",
                                                               "content-range",
                                                               "content-type",
                                                               "date",
                                                               "etag",
                                                               "expect",
                                                               "expires",
                                                               "from",
                                                               "host",
                                                               "if-match",
                                                               "if-modified-since",
                                                               "if-none-match",
                                                               "if-range",
                                                               "if-unmodified-since",
                                                               "last-modified",
                                                               "location",
                                                               "max-forwards",
                                                               "pragma",
                                                               "proxy-authenticate",
                                                               "proxy-authorization",
                                                               "range",
                                                               "referer",
                                                               "retry-after",
                                                               "server",
                                                               "te",
                                                               "trailer",
                                                               "transfer-encoding",
                                                               "upgrade",
                                                               "user-agent",
                                                               "vary",
                                                               "via",
                                                               "warning",
                                                               "www-authenticate",
                                                               "method",
                                                               "get",
                                                               "status",
                                                               "200 OK",
                                                               "version",
                                                               "HTTP/1.1",
                                                               "url",
                                                               "public",
                                                               "set-cookie",
                                                               "keep-alive",
                                                               "origin"};

// What follows them, without lengths.
constexpr std::string_view kDictionaryTail =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information"
    "204 No Content"
    "301 Moved Permanently"
    "400 Bad Request"
    "401 Unauthorized"
    "403 Forbidden"
    "404 Not Found"
    "500 Internal Server Error"
    "501 Not Implemented"
    "503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    "text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

void AppendUint32(std::string& out, size_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>((value >> shift) & 0xff));
}

// Reads one length-prefixed string; false when the block ends before it does.
bool TakeString(std::string_view& block, std::string_view& out) {
  if (block.size() < 4) return false;
  uint32_t length = 0;
  for (size_t i = 0; i < 4; ++i) length = (length << 8) | static_cast<uint8_t>(block[i]);
  block.remove_prefix(4);
  if (length > block.size()) return false;
  out = block.substr(0, length);
  block.remove_prefix(length);
  return true;
}

Result<SpdyHeaders> ParseBlock(std::string_view block) {
  if (block.size() < 4) return InvalidArgument("SPDY header block ends early");
  uint32_t count = 0;
  for (size_t i = 0; i < 4; ++i) count = (count << 8) | static_cast<uint8_t>(block[i]);
  block.remove_prefix(4);
  if (count > kMaxSpdyHeaders) return ResourceExhausted("SPDY header block has " + std::to_string(count) + " headers");
  SpdyHeaders headers;
  for (uint32_t i = 0; i < count; ++i) {
    std::string_view name;
    std::string_view value;
    if (!TakeString(block, name) || !TakeString(block, value)) {
      return InvalidArgument("SPDY header block ends early");
    }
    if (name.empty()) return InvalidArgument("SPDY header without a name");
    std::string key(name);
    for (char& c : key) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (!headers.try_emplace(std::move(key), value).second) {
      return InvalidArgument("SPDY header block names a header twice");
    }
  }
  if (!block.empty()) return InvalidArgument("SPDY header block has bytes after its end");
  return headers;
}

Bytef* Input(std::string_view text) {
  // zlib's interface is not const-correct; it does not write to its input.
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
}

}  // namespace

std::string SpdyDictionary() {
  std::string dictionary;
  dictionary.reserve(1423);
  for (std::string_view name : kDictionaryNames) {
    AppendUint32(dictionary, name.size());
    dictionary += name;
  }
  dictionary += kDictionaryTail;
  return dictionary;
}

struct SpdyHeaderDeflater::State {
  z_stream zlib{};
};

SpdyHeaderDeflater::SpdyHeaderDeflater() : state_(std::make_unique<State>()) {
  // A small window (2 KiB holds the dictionary) and little state: a server's blocks are empty, and the
  // default would cost 256 KiB a session.
  constexpr int kWindowBits = 11;
  constexpr int kMemLevel = 1;
  if (::deflateInit2(&state_->zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWindowBits, kMemLevel, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    throw std::bad_alloc();  // the only way to fail with constant arguments
  }
  std::string dictionary = SpdyDictionary();
  ::deflateSetDictionary(&state_->zlib, Input(dictionary), static_cast<uInt>(dictionary.size()));
}

SpdyHeaderDeflater::~SpdyHeaderDeflater() { ::deflateEnd(&state_->zlib); }

std::string SpdyHeaderDeflater::Deflate(const SpdyHeaders& headers) {
  std::string block;
  AppendUint32(block, headers.size());
  for (const auto& [name, value] : headers) {
    AppendUint32(block, name.size());
    block += name;
    AppendUint32(block, value.size());
    block += value;
  }
  std::string out;
  std::array<char, 1024> buffer;
  z_stream& zlib = state_->zlib;
  zlib.next_in = Input(block);
  zlib.avail_in = static_cast<uInt>(block.size());
  do {
    zlib.next_out = reinterpret_cast<Bytef*>(buffer.data());
    zlib.avail_out = buffer.size();
    ::deflate(&zlib, Z_SYNC_FLUSH);
    out.append(buffer.data(), buffer.size() - zlib.avail_out);
  } while (zlib.avail_out == 0);
  return out;
}

struct SpdyHeaderInflater::State {
  z_stream zlib{};
};

SpdyHeaderInflater::SpdyHeaderInflater() : state_(std::make_unique<State>()) {
  if (::inflateInit(&state_->zlib) != Z_OK) throw std::bad_alloc();
}

SpdyHeaderInflater::~SpdyHeaderInflater() { ::inflateEnd(&state_->zlib); }

Result<SpdyHeaders> SpdyHeaderInflater::Inflate(std::string_view block) {
  z_stream& zlib = state_->zlib;
  zlib.next_in = Input(block);
  zlib.avail_in = static_cast<uInt>(block.size());
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    zlib.next_out = reinterpret_cast<Bytef*>(buffer.data());
    zlib.avail_out = buffer.size();
    int rc = ::inflate(&zlib, Z_SYNC_FLUSH);
    text.append(buffer.data(), buffer.size() - zlib.avail_out);
    if (text.size() > kMaxSpdyHeaderBlock) {
      return ResourceExhausted("SPDY header block is longer than " + std::to_string(kMaxSpdyHeaderBlock) + " bytes");
    }
    if (rc == Z_NEED_DICT) {
      std::string dictionary = SpdyDictionary();
      if (::inflateSetDictionary(&zlib, Input(dictionary), static_cast<uInt>(dictionary.size())) != Z_OK) {
        return InvalidArgument("SPDY header block was compressed with another dictionary");
      }
      continue;
    }
    if (rc == Z_BUF_ERROR) break;  // nothing left to read and nothing to write: the block's end
    if (rc != Z_OK) return InvalidArgument("SPDY header block is not zlib data");
    if (zlib.avail_in == 0 && zlib.avail_out != 0) break;
  }
  return ParseBlock(text);
}

}  // namespace davit::http
