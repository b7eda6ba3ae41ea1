#include "oci/digest.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace davit::oci {
namespace {

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

std::string_view AlgorithmName(DigestAlgorithm algorithm) {
  return algorithm == DigestAlgorithm::kSha512 ? "sha512" : "sha256";
}

size_t DigestSize(DigestAlgorithm algorithm) { return algorithm == DigestAlgorithm::kSha512 ? 64 : 32; }

Result<Digest> Digest::Parse(std::string_view text) {
  for (DigestAlgorithm algorithm : {DigestAlgorithm::kSha256, DigestAlgorithm::kSha512}) {
    std::string_view name = AlgorithmName(algorithm);
    if (text.size() > name.size() && text.substr(0, name.size()) == name && text[name.size()] == ':') {
      Result<Digest> digest = ParseHex(algorithm, text.substr(name.size() + 1));
      if (digest.ok()) return digest;
    }
  }
  return InvalidArgument(fmt::format(
      "digest \"{}\" is not sha256 or sha512 and the right number of lower-case hex digits", Printable(text)));
}

Result<Digest> Digest::ParseHex(DigestAlgorithm algorithm, std::string_view hex) {
  if (hex.size() != 2 * DigestSize(algorithm) || !IsLowerHex(hex)) {
    return InvalidArgument(
        fmt::format("\"{}\" is not {} lower-case hex digits", Printable(hex), 2 * DigestSize(algorithm)));
  }
  return FromRaw(algorithm, HexDecode(hex).value_or(""));
}

Digest Digest::FromSha256(const std::array<uint8_t, 32>& bytes) {
  Digest digest;
  digest.algorithm_ = DigestAlgorithm::kSha256;
  digest.size_ = bytes.size();
  std::copy(bytes.begin(), bytes.end(), digest.bytes_.begin());
  return digest;
}

Digest Digest::FromSha512(const std::array<uint8_t, 64>& bytes) {
  Digest digest;
  digest.algorithm_ = DigestAlgorithm::kSha512;
  digest.size_ = bytes.size();
  digest.bytes_ = bytes;
  return digest;
}

Result<Digest> Digest::FromRaw(DigestAlgorithm algorithm, std::string_view raw) {
  if (raw.size() != DigestSize(algorithm)) {
    return InvalidArgument(
        fmt::format("a {} hash has {} bytes, not {}", AlgorithmName(algorithm), DigestSize(algorithm), raw.size()));
  }
  Digest digest;
  digest.algorithm_ = algorithm;
  digest.size_ = static_cast<uint8_t>(raw.size());
  std::transform(raw.begin(), raw.end(), digest.bytes_.begin(), [](char c) { return static_cast<uint8_t>(c); });
  return digest;
}

std::string Digest::hex() const { return HexEncode(raw()); }

std::string Digest::ToString() const {
  if (empty()) return "";
  return fmt::format("{}:{}", AlgorithmName(algorithm_), hex());
}

}  // namespace davit::oci
