// davit run in front of a runtime that has CRI alone: a pod with one container.
#pragma once

#include "cli/commands.h"

namespace davit::cli {

// The image is there. kUnimplemented for a flag that CRI has no word for.
Result<int> RunByCri(const Context& context, const RunOptions& options);

}  // namespace davit::cli
