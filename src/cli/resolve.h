// Which object a person means: a full id, a beginning of one, or a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::cli {

struct Candidate {
  std::string id;
  std::string name;
};

// The one candidate whose id is `text`, else whose name is, else whose id begins with it (an algorithm in
// front, "sha256:", may be left out). kNotFound, or kInvalidArgument that names up to five of the
// candidates when more than one fits. `what` is for the error: "pod", "container".
Result<std::string> ResolveId(const std::vector<Candidate>& candidates, std::string_view text, std::string_view what);

}  // namespace davit::cli
