// The pieces of image-spec documents that more than one reader needs. Errors name the key path.
#pragma once

#include "base/result.h"
#include "oci/digest.h"
#include "oci/image_spec.h"
#include "oci/json.h"

namespace davit::oci {

Result<Digest> ReadDigest(const JsonNode& node);
Result<Platform> ReadPlatform(const JsonNode& node);
Result<Descriptor> ReadDescriptor(const JsonNode& node);

}  // namespace davit::oci
