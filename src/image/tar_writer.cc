#include "image/tar_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace davit::image {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kMaxName = 100;
constexpr uint64_t kMaxOctal7 = 07777777;       // of 8 bytes
constexpr uint64_t kMaxOctal11 = 077777777777;  // of 12

char TypeFlag(TarType type) {
  switch (type) {
    case TarType::kRegular:
      return '0';
    case TarType::kHardLink:
      return '1';
    case TarType::kSymlink:
      return '2';
    case TarType::kCharDevice:
      return '3';
    case TarType::kBlockDevice:
      return '4';
    case TarType::kDirectory:
      return '5';
    case TarType::kFifo:
      return '6';
  }
  return '0';
}

// Fields of the header, by their places in it.
struct Header {
  char block[kBlock] = {};

  void Text(size_t at, size_t size, std::string_view text) {
    std::memcpy(block + at, text.data(), std::min(size, text.size()));
  }
  // What does not fit is in a PAX record.
  void Octal(size_t at, size_t size, uint64_t number) {
    const uint64_t most = size == 8 ? kMaxOctal7 : kMaxOctal11;
    Text(at, size, fmt::format("{:0{}o}", number > most ? 0 : number, size - 1));
  }
  std::string_view Seal() {
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (char c : block) sum += static_cast<unsigned char>(c);
    Text(148, 8, fmt::format("{:06o}", sum));
    block[154] = '\0';
    return {block, kBlock};
  }
};

Header MakeHeader(std::string_view name, char type, const TarEntry& entry, uint64_t size) {
  Header header;
  header.Text(0, kMaxName, name);
  header.Octal(100, 8, entry.mode);
  header.Octal(108, 8, entry.uid);
  header.Octal(116, 8, entry.gid);
  header.Octal(124, 12, size);
  header.Octal(136, 12, entry.mtime_seconds < 0 ? 0 : static_cast<uint64_t>(entry.mtime_seconds));
  header.block[156] = type;
  header.Text(157, kMaxName, entry.link_name);
  header.Text(257, 8, std::string_view("ustar\00000", 8));
  header.Octal(329, 8, entry.device_major);
  header.Octal(337, 8, entry.device_minor);
  return header;
}

// "LENGTH key=value\n", whose length counts its own digits.
void Record(std::string& out, std::string_view key, std::string_view value) {
  const size_t body = key.size() + value.size() + 3;
  size_t length = body + 1;
  while (std::to_string(length).size() + body != length) length = std::to_string(length).size() + body;
  out += fmt::format("{} {}=", length, key);
  out += value;
  out += '\n';
}

std::string PaxRecords(const std::string& name, const TarEntry& entry) {
  std::string out;
  if (name.size() > kMaxName) Record(out, "path", name);
  if (entry.link_name.size() > kMaxName) Record(out, "linkpath", entry.link_name);
  if (entry.size > kMaxOctal11) Record(out, "size", std::to_string(entry.size));
  if (entry.uid > kMaxOctal7) Record(out, "uid", std::to_string(entry.uid));
  if (entry.gid > kMaxOctal7) Record(out, "gid", std::to_string(entry.gid));
  if (entry.mtime_seconds < 0 || static_cast<uint64_t>(entry.mtime_seconds) > kMaxOctal11) {
    Record(out, "mtime", std::to_string(entry.mtime_seconds));
  }
  for (const auto& [key, value] : entry.xattrs) Record(out, "SCHILY.xattr." + key, value);
  return out;
}

uint32_t PaddingOf(uint64_t size) { return static_cast<uint32_t>((kBlock - size % kBlock) % kBlock); }

}  // namespace

Status TarWriter::Begin(const TarEntry& entry) {
  if (left_ > 0) return Internal("an entry of the tar is not complete");
  RETURN_IF_ERROR(Pad());
  std::string name = entry.name;
  if (entry.type == TarType::kDirectory && !name.ends_with('/')) name += '/';
  if (std::string pax = PaxRecords(name, entry); !pax.empty()) {
    TarEntry extended;
    extended.mode = 0644;
    RETURN_IF_ERROR(sink_(MakeHeader("PaxHeaders/entry", 'x', extended, pax.size()).Seal()));
    pax.append(PaddingOf(pax.size()), '\0');
    RETURN_IF_ERROR(sink_(pax));
  }
  const uint64_t size = entry.type == TarType::kRegular ? entry.size : 0;
  RETURN_IF_ERROR(sink_(MakeHeader(name, TypeFlag(entry.type), entry, size).Seal()));
  left_ = size;
  padding_ = PaddingOf(size);
  return {};
}

Status TarWriter::Data(std::string_view bytes) {
  if (bytes.size() > left_) return Internal("more data than the tar's header says");
  left_ -= bytes.size();
  return sink_(bytes);
}

Status TarWriter::Fill() {
  const std::string zeros(std::min<uint64_t>(left_, 64 << 10), '\0');
  while (left_ > 0) RETURN_IF_ERROR(Data(std::string_view(zeros).substr(0, std::min<uint64_t>(left_, zeros.size()))));
  return {};
}

Status TarWriter::Pad() {
  static constexpr char kZeros[kBlock] = {};
  const uint32_t padding = std::exchange(padding_, 0);
  return padding == 0 ? Status() : sink_(std::string_view(kZeros, padding));
}

Status TarWriter::Finish() {
  if (left_ > 0) return Internal("an entry of the tar is not complete");
  RETURN_IF_ERROR(Pad());
  return sink_(std::string(2 * kBlock, '\0'));
}

}  // namespace davit::image
