// The configuration of an image that is made of a container: its image's, what the container was given on top, one more
// layer. As docker commit does it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "oci/digest.h"

namespace davit::oci {

struct CommitSettings {
  std::string parent;     // config document of the container's image
  std::string container;  // keys of Docker's Config, as the container has them: they replace the image's
  std::string config;     // the same of the request: set over those, environment and maps key by key; may be empty
  std::vector<std::string> changes;  // import_config.h; last
  std::string author;
  std::string comment;  // of its history
  std::string created;  // RFC 3339
  Digest diff_id;       // of the new layer
};

// kInvalidArgument naming a change or a key; kResourceExhausted for a cap.
Result<std::string> MakeCommitConfig(const CommitSettings& settings);

}  // namespace davit::oci
