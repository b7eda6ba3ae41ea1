// Images as the files of an archive: an OCI image layout (image-layout.md), and beside it docker's manifest.json where
// wanted, as docker writes both since its release 25. Each blob is there once, however many images have it.
//
// The files come in the order blobs, then the documents that name them: what is cut short is no archive.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/images.h"

namespace davit::store {
class Content;
class LayerDriver;
}  // namespace davit::store

namespace davit::image {

struct ExportImage {
  ImageRecord record;
  std::vector<std::string> names;  // "host/repository:tag", for the archive to say; none: it has only its id
};

struct ExportOptions {
  bool docker = true;             // with manifest.json
  bool gzip = false;              // the layers; their digests are others then, the image's id is not
  std::string spool;              // directory for a compressed layer, whose size has to be known first
  std::function<Status()> go_on;  // asked now and then; its error ends the export. May be empty
};

// Takes the files, one after the other.
class ExportSink {
 public:
  virtual ~ExportSink() = default;
  // Of all layers before compression; once, before the first file.
  virtual Status Total(uint64_t bytes) = 0;
  virtual Status Begin(const std::string& path, uint64_t size) = 0;
  virtual Status Write(std::string_view bytes) = 0;  // `size` bytes in all
};

// The images' layers and blobs are held by the caller. Blocks for the disk and for the sink.
//   kFailedPrecondition  an image has a layer that cannot be exported (layer_export.h); nothing has been written
//   kUnimplemented       an OCI artifact
//   kDataLoss            what is in the store is not what it was: the text names layer and file
//   kResourceExhausted   no room for the spool
Status ExportImages(store::Content& content, const store::LayerDriver& layers, const std::vector<ExportImage>& images,
                    const ExportOptions& options, ExportSink& sink);

}  // namespace davit::image
