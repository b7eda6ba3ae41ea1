// One blob of an OCI artifact as a file of its layer's directory.
#pragma once

#include <string>

#include "base/result.h"
#include "image/artifact.h"
#include "image/layer_pipeline.h"

namespace davit::image {

// Into the empty directory `root`: the file `file.path`, 0644 root:root, in directories of 0755. `fetch` as for
// UnpackLayer; digest and size are checked. kDataLoss, kResourceExhausted for a cap and a full file system.
Result<LayerTotals> WriteArtifactFile(const ArtifactFile& file, const std::string& root, const PullLimits& limits,
                                      PipelineCounters& counters, const FetchBlob& fetch);

}  // namespace davit::image
