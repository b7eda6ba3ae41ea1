#include "image/signatures.h"

#include <fmt/format.h>

#include "oci/json.h"
#include "oci/reflect.h"

namespace davit::image {

BOOST_DESCRIBE_STRUCT(SignatureBlob, (), (kind, source, data, signature, log_entry))
BOOST_DESCRIBE_STRUCT(SignatureSet, (), (top_digest, index, inner, manifest_digest, signatures, notes))

std::string EncodeSignatureSet(const SignatureSet& set) { return oci::ReflectToText(set); }

Result<SignatureSet> DecodeSignatureSet(std::string_view text) {
  ASSIGN_OR_RETURN_WITH(boost::json::value json, oci::ParseJson(text, kMaxSignatureSetBytes, 8), "kept signatures");
  SignatureSet out;
  RETURN_IF_ERROR(oci::Unreflect(json, out, "signatures"));
  if (out.signatures.size() > kMaxSignatures)
    return ResourceExhausted(fmt::format("more than {} signatures of one image", kMaxSignatures));
  return out;
}

}  // namespace davit::image
