// ImageRecord as text, for store::Database (kind "image"). docs/formats/image-records.md.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "image/images.h"

namespace davit::image {

inline constexpr int64_t kImageRecordVersion = 2;  // written for images with a config_digest; others are of version 1

std::string EncodeImageRecord(const ImageRecord& record);
// kDataLoss when it is malformed, or names things that are no digests; kUnimplemented for a newer version.
Result<ImageRecord> DecodeImageRecord(std::string_view text);

}  // namespace davit::image
