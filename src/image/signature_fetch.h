// CollectSignatures: fetches what may be signatures of an image, for davit-pull. It looks into manifests, never into
// what is signed.
// Source: cosign's SIGNATURE_SPEC (tag "sha256-<hex>.sig"), OCI distribution-spec 1.1 (referrers and their tag
// "sha256-<hex>"), containers-registries.d(5) ("<lookaside>@sha256=<hex>/signature-<n>").
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "image/curl_client.h"
#include "image/registry.h"
#include "image/signatures.h"

namespace davit::image {

// `subjects`: the manifest and, where there is one, the index. What is not there is a note, and so is what cannot be
// fetched: whether enough was found is the policy's business. kResourceExhausted over a cap.
Status CollectSignatures(Registry& registry, CurlClient& client, const SignatureWants& wants,
                         const std::vector<oci::Digest>& subjects, SignatureSet& set);

}  // namespace davit::image
