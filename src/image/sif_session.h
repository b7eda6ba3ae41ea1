// The part of davit-pull that reads SIF files: hashes one that lies on the node, or downloads one from a library, and
// makes an image config of what is in it.
//
// The library protocol is that of Sylabs' library clients: GET /v1/images/NAME:TAG?arch= for the hash, then
// /v1/imagefile/NAME:TAG?arch= for the bytes, with "Authorization: BEARER token" to the library's own origin only.
#pragma once

#include "base/result.h"
#include "image/layer_pipeline.h"
#include "image/pull_messages.h"

namespace davit::image {

// Mounts the squashfs for a moment, in this process's mount namespace, to read /.singularity.d.
//   kInvalidArgument, kUnimplemented, kDataLoss   as sif::Parse and sif::RootPartition; a hash that is another
//   kNotFound            no such image in the library, or one for another architecture
//   kFailedPrecondition  this node cannot mount it
//   kResourceExhausted   a cap of PullLimits
//   and what a pull has of HTTP (puller.h)
Result<SifEvent> FetchSif(const PullJob& job, PipelineCounters& counters);

}  // namespace davit::image
