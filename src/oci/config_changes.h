// Instructions of a Dockerfile on the "config" object of an image. Private to oci/.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace davit::oci {

// The first in order; on an error `config` is undefined. Errors as MakeImportConfig.
Status ApplyChanges(const std::vector<std::string>& changes, boost::json::object& config);

}  // namespace davit::oci
