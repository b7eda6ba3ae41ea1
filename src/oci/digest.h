// Digest: the name of content by its hash, "sha256:<64 hex>".
//
// A value type on purpose (CVE-2024-3727): text from a manifest becomes an algorithm and a fixed
// number of raw bytes, and ToString() is the only way back. No text from outside can therefore reach a
// path, a URL or a header as "a digest".
//
// Source: OCI image-spec, descriptor.md, "Digests". Thread rules: a plain value.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::oci {

enum class DigestAlgorithm : uint8_t { kSha256, kSha512 };

// "sha256", "sha512".
std::string_view AlgorithmName(DigestAlgorithm algorithm);
// Length of the raw hash in bytes: 32 or 64.
size_t DigestSize(DigestAlgorithm algorithm);

class Digest {
 public:
  Digest() = default;  // empty: "none"

  // Strict: "sha256:" and 64, or "sha512:" and 128, lower-case hex digits, nothing before or after.
  // kInvalidArgument naming the text otherwise.
  static Result<Digest> Parse(std::string_view text);
  // Only the hex part, e.g. a file name of a blob store.
  static Result<Digest> ParseHex(DigestAlgorithm algorithm, std::string_view hex);

  static Digest FromSha256(const std::array<uint8_t, 32>& bytes);
  static Digest FromSha512(const std::array<uint8_t, 64>& bytes);
  // `raw` is the binary hash as a hash function wrote it; kInvalidArgument on a wrong length.
  static Result<Digest> FromRaw(DigestAlgorithm algorithm, std::string_view raw);

  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] DigestAlgorithm algorithm() const { return algorithm_; }
  // The binary hash; a view into this object, empty for an empty digest.
  [[nodiscard]] std::string_view raw() const { return {reinterpret_cast<const char*>(bytes_.data()), size_}; }
  // Lower-case hex without the algorithm; "" when empty. Safe as one component of a path.
  [[nodiscard]] std::string hex() const;
  // "sha256:<hex>"; "" when empty.
  [[nodiscard]] std::string ToString() const;

  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  DigestAlgorithm algorithm_ = DigestAlgorithm::kSha256;
  uint8_t size_ = 0;  // bytes of bytes_ in use; the rest stays zero
  std::array<uint8_t, 64> bytes_{};
};

}  // namespace davit::oci

template <>
struct std::hash<davit::oci::Digest> {
  size_t operator()(const davit::oci::Digest& digest) const {
    // Bytes of a cryptographic hash, but chosen by whoever made the content: hash them again.
    return std::hash<std::string_view>()(digest.raw());
  }
};
