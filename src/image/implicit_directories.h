// Implicit directories: those that a layer's paths go through without an entry of their own ("tmp/x" and
// no "tmp/"; some build tools write such layers).
//
// Engines that unpack one layer on top of the other get owner and mode of /tmp from the layer below. Here
// layers are unpacked apart and at the same time, and a made-up root:root 0755 would hide the 1777 below
// it; so the metadata is copied once the layers below are there. A layer is kept once for all images: the
// first image that brings it decides, which only matters if two images have it above different parents.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace davit::image {

// Gives `directories` of the layer at `layer` owner, mode and times of the same directory in `lower` (layer
// directories, topmost first), where one has it. By descriptor, in root; follows no symbolic link at the end.
Status CopyLowerMetadata(const std::string& layer, const std::vector<std::string>& directories,
                         const std::vector<std::string>& lower);

}  // namespace davit::image
