// Sha256: streaming SHA-256 over OpenSSL's EVP, which uses the processor's instructions for it.
#pragma once

#include <memory>
#include <string_view>

#include "oci/digest.h"

struct evp_md_ctx_st;

namespace davit::image {

class Sha256 {
 public:
  Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  ~Sha256();
  void Update(std::string_view bytes);
  // Once, at the end. An empty digest (equal to no other) when OpenSSL failed.
  [[nodiscard]] oci::Digest Finish();

  static oci::Digest Of(std::string_view bytes);

 private:
  evp_md_ctx_st* context_;
  bool ok_;
};

}  // namespace davit::image
