// Which references are SIF files, and where those are.
#pragma once

#include <optional>

#include "base/result.h"
#include "config/config.h"
#include "image/reference.h"
#include "image/sif_puller.h"

namespace davit::engine {

// nullopt: an image of a registry. Of local.file/PATH the file is looked for.
//   kFailedPrecondition  image.sif.enabled is false, or no directory is allowed
//   kPermissionDenied    the path, or what its symbolic links lead to, is in no directory of image.sif.allowed_dirs
//   kNotFound            there is no such file
Result<std::optional<image::SifSource>> SifSourceOf(const config::SifConfig& config, const image::Reference& reference);

}  // namespace davit::engine
