#include "api/tar_stream.h"

#include <fmt/format.h>

#include <cstring>

#include "base/strings.h"

namespace davit::api {
namespace {

constexpr size_t kBlock = 512;

// Octal digits, or the base-256 form of GNU for what does not fit (files over 8 GiB).
void PutNumber(char* at, size_t width, uint64_t value) {
  if (value >> (3 * (width - 1)) != 0) {
    for (size_t i = 0; i < width; ++i) {
      at[width - 1 - i] = static_cast<char>(value & 0xff);
      value >>= 8;
    }
    at[0] = static_cast<char>(at[0] | '\x80');
    return;
  }
  std::string digits = fmt::format("{:0{}o}", value, width - 1);
  std::memcpy(at, digits.data(), width - 1);
}

Result<std::string> Header(const std::string& path, uint64_t size, char type, unsigned mode) {
  std::string block(kBlock, '\0');
  std::string prefix;
  std::string name = path;
  if (name.size() > 100) {
    size_t cut = name.rfind('/', 155);
    if (cut == std::string::npos || name.size() - cut - 1 > 100) {
      return InvalidArgument("the name " + Printable(path, 300) + " is too long for a tar");
    }
    prefix = name.substr(0, cut);
    name = name.substr(cut + 1);
  }
  std::memcpy(block.data(), name.data(), name.size());
  PutNumber(block.data() + 100, 8, mode);
  PutNumber(block.data() + 108, 8, 0);
  PutNumber(block.data() + 116, 8, 0);
  PutNumber(block.data() + 124, 12, size);
  PutNumber(block.data() + 136, 12, 0);
  std::memset(block.data() + 148, ' ', 8);
  block[156] = type;
  std::memcpy(block.data() + 257, "ustar\00000", 8);
  std::memcpy(block.data() + 345, prefix.data(), prefix.size());
  unsigned sum = 0;
  for (char c : block) sum += static_cast<unsigned char>(c);
  std::string digits = fmt::format("{:06o}", sum);
  std::memcpy(block.data() + 148, digits.data(), 6);
  block[154] = '\0';
  return block;
}

}  // namespace

Status TarStream::Pad() {
  if (left_ != 0) return Internal(fmt::format("a file of the archive lacks {} bytes", left_));
  std::string zeros(pad_, '\0');
  pad_ = 0;
  return zeros.empty() ? Status() : write_(zeros);
}

Status TarStream::Directories(const std::string& path) {
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    std::string directory = path.substr(0, slash + 1);
    if (!directories_.insert(directory).second) continue;
    ASSIGN_OR_RETURN(std::string header, Header(directory, 0, '5', 0755));
    RETURN_IF_ERROR(write_(header));
  }
  return {};
}

Status TarStream::BeginFile(const std::string& path, uint64_t size) {
  RETURN_IF_ERROR(Pad());
  RETURN_IF_ERROR(Directories(path));
  ASSIGN_OR_RETURN(std::string header, Header(path, size, '0', 0644));
  left_ = size;
  pad_ = (kBlock - size % kBlock) % kBlock;
  return write_(header);
}

Status TarStream::Data(std::string_view bytes) {
  if (bytes.size() > left_) return Internal("a file of the archive is longer than was said");
  left_ -= bytes.size();
  return write_(bytes);
}

Status TarStream::Finish() {
  RETURN_IF_ERROR(Pad());
  return write_(std::string(2 * kBlock, '\0'));
}

}  // namespace davit::api
