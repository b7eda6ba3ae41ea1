// Key pairs for tests.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <string>
#include <string_view>

namespace davit::trust {

class TestKey {
 public:
  // "EC", "RSA", "RSA1024", "ED25519", "X25519".
  explicit TestKey(std::string_view kind) {
    if (kind == "EC") key_ = EVP_EC_gen("P-256");
    if (kind == "RSA") key_ = EVP_RSA_gen(2048);
    if (kind == "RSA1024") key_ = EVP_RSA_gen(1024);
    if (kind == "ED25519" || kind == "X25519") key_ = EVP_PKEY_Q_keygen(nullptr, nullptr, std::string(kind).c_str());
  }
  ~TestKey() { EVP_PKEY_free(key_); }
  TestKey(const TestKey&) = delete;
  TestKey& operator=(const TestKey&) = delete;

  [[nodiscard]] std::string Pem() const {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, key_);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<size_t>(size));
    BIO_free(bio);
    return out;
  }

  [[nodiscard]] std::string Sign(std::string_view message) const {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const bool whole = EVP_PKEY_get_base_id(key_) == EVP_PKEY_ED25519;
    std::string out(1024, '\0');
    size_t size = out.size();
    EVP_DigestSignInit(context, nullptr, whole ? nullptr : EVP_sha256(), nullptr, key_);
    EVP_DigestSign(context, reinterpret_cast<unsigned char*>(out.data()), &size,
                   reinterpret_cast<const unsigned char*>(message.data()), message.size());
    EVP_MD_CTX_free(context);
    out.resize(size);
    return out;
  }

 private:
  EVP_PKEY* key_ = nullptr;
};

}  // namespace davit::trust
