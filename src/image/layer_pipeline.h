// The one pass over a layer: fetch -> hash -> inflate -> hash | untar. Two threads, a ring between them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "image/layer_writer.h"
#include "image/pull_options.h"
#include "oci/image_spec.h"

namespace davit::image {

struct LayerJob {
  oci::Descriptor blob;
  oci::Digest diff_id;  // empty: there is none to compare with, as for an artifact's packed directory
  std::string path;     // empty directory
  std::string journal;  // directory for the layer's journal (layer_journal.h); empty: none is written
  // Where what comes cannot be unpacked, the rest of it is still fetched (up to 4 GiB), for the digest says whose fault
  // that is: another endpoint may have the true bytes.
  bool to_the_end = false;
};

// Shared by all layers of a pull.
struct PipelineCounters {
  std::atomic<uint64_t> bytes_done{0};      // compressed
  std::atomic<uint64_t> bytes_unpacked{0};  // file content
};

struct UnpackedLayer {
  LayerTotals totals;
  std::vector<std::string> implicit_directories;
  std::vector<std::string> whiteout_directories;
  std::vector<LinkBelow> links_below;
  bool root_named = false;
  std::vector<std::string> warnings;
};

// `fetch` pushes the blob's bytes into the function it is given, once and in order, and returns its error.
// kAborted when the bytes are not those of the blob's digest, kDataLoss when size or diff ID differ; the directory's
// content is then worthless, and the caller discards it. Blocks; the second thread has ended when it returns.
using FetchBlob = std::function<Status(const std::function<Status(std::string_view)>& push)>;
Result<UnpackedLayer> UnpackLayer(const LayerJob& job, const PullLimits& limits, PipelineCounters& counters,
                                  const FetchBlob& fetch);

}  // namespace davit::image
