// Names of signals, as images, engines and the command line write them.
#pragma once

#include <string_view>

#include "base/result.h"

namespace davit::sys {

// "SIGTERM", "TERM", "15", "SIGRTMIN+3" -> Linux signal number; kInvalidArgument naming the text.
Result<int> ParseSignal(std::string_view text);

}  // namespace davit::sys
