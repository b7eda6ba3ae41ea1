#include "image/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>

namespace davit::image {

Sha256::Sha256()
    : context_(EVP_MD_CTX_new()), ok_(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1) {}
Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(std::string_view bytes) {
  ok_ = ok_ && EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1;
}

oci::Digest Sha256::Finish() {
  std::array<uint8_t, 32> raw{};
  unsigned size = 0;
  ok_ = ok_ && EVP_DigestFinal_ex(context_, raw.data(), &size) == 1 && size == raw.size();
  return ok_ ? oci::Digest::FromSha256(raw) : oci::Digest();
}

oci::Digest Sha256::Of(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

}  // namespace davit::image
