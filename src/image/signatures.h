// SignatureSet: what was found beside an image that may be a signature of it. Untrusted bytes, carried and kept as they
// came: davit-pull collects them, davitd stores them with the image, and only trust::Verify, in a process of its own,
// looks into them. Format: docs/formats/signatures.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::image {

inline constexpr size_t kMaxSignatures = 128;             // of one image
inline constexpr size_t kMaxSignatureBytes = 1 << 20;     // of one
inline constexpr size_t kMaxSignatureSetBytes = 8 << 20;  // encoded; fits an event and a blob

struct SignatureBlob {
  std::string kind;       // "openpgp", "cosign" or "bundle"
  std::string source;     // where it was found, for errors
  std::string data;       // base64: the OpenPGP message, cosign's payload, or the bundle's JSON
  std::string signature;  // cosign: base64, as in the annotation
  std::string log_entry;  // cosign: base64 of the annotation dev.sigstore.cosign/bundle; may be empty
};

struct SignatureSet {
  std::string top_digest;          // of the index, or of the manifest when there is none
  std::string index;               // base64 of the index; empty when there is none
  std::vector<std::string> inner;  // base64 of the indexes below it that led to the manifest, one in the other
  std::string manifest_digest;     // of this platform's manifest
  std::vector<SignatureBlob> signatures;
  std::vector<std::string> notes;  // where there was nothing, or what could not be asked: for errors
};

std::string EncodeSignatureSet(const SignatureSet& set);
// kDataLoss when it is malformed; kResourceExhausted over a cap.
Result<SignatureSet> DecodeSignatureSet(std::string_view text);

// What davit-pull is to collect.
struct SignatureWants {
  bool openpgp = false;
  bool sigstore = false;
  // "http(s)://…" or "file:///…" directories of this image's repository, without the "@sha256=…".
  std::vector<std::string> lookasides;
};

}  // namespace davit::image
