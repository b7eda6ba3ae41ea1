// What of a layer belongs to the layers below it.
//
// Layers are unpacked apart, at the same time, and each is kept once for all images. Engines that unpack one layer on
// top of the other give three things for nothing, which are made here, once the layers below are there:
//
//   directories that the paths go through without an entry of their own ("tmp/x" and no "tmp/"): owner, mode and times
//       are those of the directory below, where there is one
//   hard links to a file of a layer below: both names are one file, a copy in this layer
//   whiteouts in a directory that the layers below do not show: overlayfs would list them as character devices, for it
//       hides them only where it merges directories; they mark nothing, and go
//
// Such a layer has another content on another stack. It is kept under its StackKey, all others under their diff ID, so
// that every image looks as if it were alone on the node.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/pull_messages.h"
#include "oci/digest.h"

namespace davit::image {

inline bool DependsOnStack(const LayerEvent& layer) {
  return !layer.implicit_directories.empty() || !layer.links_below.empty() || !layer.whiteout_directories.empty();
}

// The keys of the layers of an image as they are if they depend on what is below, bottom first: ChainIDs (OCI
// image-spec, config.md, "Layer ChainID") over a bottom of our own, since the first ChainID is the bare diff ID.
std::vector<oci::Digest> StackKeys(const std::vector<oci::Digest>& diff_ids);

// How much the layer has grown by: copies in, whiteouts out.
struct StackGrowth {
  uint64_t bytes = 0;
  int64_t entries = 0;
};

// Finishes the layer at `fs` above the layer directories `lower`, topmost first. Everything by descriptor; no symbolic
// link is followed. Blocks: files that links name are copied, at most `max_bytes` of them.
//   kInvalidArgument    a link whose target the layers below do not show either, or a directory
//   kResourceExhausted  max_bytes, or no space left
Result<StackGrowth> FinishOnStack(const std::string& fs, const LayerEvent& layer, const std::vector<std::string>& lower,
                                  uint64_t max_bytes);

}  // namespace davit::image
