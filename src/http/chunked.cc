#include "http/chunked.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace davit::http {
namespace {

constexpr size_t kMaxLine = 4096;           // of a size with its extensions
constexpr size_t kMaxTrailers = 16 * 1024;  // nobody reads them

}  // namespace

Status ChunkedDecoder::Decode(std::string_view& input, std::string& body) {
  while (!input.empty() && state_ != State::kDone) {
    if (state_ == State::kData) {
      auto take = static_cast<size_t>(std::min<uint64_t>(left_, input.size()));
      body += input.substr(0, take);
      input.remove_prefix(take);
      left_ -= take;
      if (left_ == 0) state_ = State::kDataEnd;
      continue;
    }
    size_t feed = input.find('\n');
    line_ += input.substr(0, feed);
    input.remove_prefix(feed == std::string_view::npos ? input.size() : feed + 1);
    if (line_.size() > kMaxLine) return InvalidArgument("a line of the chunked body is too long");
    if (feed == std::string_view::npos) return {};
    std::string_view line = line_;
    if (line.empty() || line.back() != '\r') return InvalidArgument("a line of the chunked body has no CRLF");
    line.remove_suffix(1);
    RETURN_IF_ERROR(Line(line));
    line_.clear();
  }
  return {};
}

Status ChunkedDecoder::Line(std::string_view line) {
  switch (state_) {
    case State::kSize: {
      std::string_view digits = Trim(line.substr(0, line.find(';')));
      if (digits.empty() || digits.size() > 15) return InvalidArgument("a chunk's size is not well formed");
      uint64_t size = 0;
      for (char c : digits) {
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return InvalidArgument("a chunk's size is not well formed");
        size = size * 16 + static_cast<uint64_t>(digit);
      }
      left_ = size;
      state_ = size == 0 ? State::kTrailer : State::kData;
      return {};
    }
    case State::kDataEnd:
      if (!line.empty()) return InvalidArgument("a chunk is longer than its size");
      state_ = State::kSize;
      return {};
    case State::kTrailer:
      trailer_bytes_ += line.size();
      if (trailer_bytes_ > kMaxTrailers) return InvalidArgument("the trailers of the chunked body are too long");
      if (line.empty()) state_ = State::kDone;
      return {};
    case State::kData:
    case State::kDone:
      break;
  }
  return {};
}

std::string Chunk(std::string_view bytes) {
  if (bytes.empty()) return {};
  std::string out = fmt::format("{:x}\r\n", bytes.size());
  out += bytes;
  out += "\r\n";
  return out;
}

}  // namespace davit::http
