// The process object of an exec: the container's own (user, environment, capabilities, working
// directory) with another command.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace davit::container {

// `process_file` is the bundle's process.json. kInvalidArgument for an empty command.
Result<std::string> ExecProcessJson(const std::string& process_file, const std::vector<std::string>& command,
                                    bool terminal);

}  // namespace davit::container
