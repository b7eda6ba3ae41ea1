// The configuration of an image that is made of a root filesystem alone: `davit image import`. Instructions are those
// that docker import takes, written as in a Dockerfile (docs.docker.com, "docker image import", "Dockerfile
// reference").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "oci/image_spec.h"

namespace davit::oci {

struct ImportSettings {
  // CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR; in order, at most 200.
  std::vector<std::string> changes;
  std::string comment;  // of its history
  std::string created;  // RFC 3339
  Platform platform;
};

// A config document without diff IDs. kInvalidArgument naming the instruction; kResourceExhausted for a cap.
Result<std::string> MakeImportConfig(const ImportSettings& settings);

// The same with its one layer. kInvalidArgument when the text is no such document.
Result<std::string> WithLayer(std::string_view config, const Digest& diff_id);

}  // namespace davit::oci
