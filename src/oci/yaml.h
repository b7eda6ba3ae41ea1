// YAML (1.2 core schema, with the octal numbers of 1.1 that file modes are written in) as the JSON text that it
// stands for, so that one parser checks both.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::oci {

// One document. kInvalidArgument with line and column when it is malformed; kResourceExhausted when it is nested
// deeper than max_depth or has more than max_nodes values (an alias counts as what it stands for).
Result<std::string> YamlToJson(std::string_view text, size_t max_depth, size_t max_nodes);

}  // namespace davit::oci
