// How a session tells the client its outcome: metav1.Status as JSON on the error stream since v4, plain
// text (nothing for success) before.
#pragma once

#include <string>

#include "base/result.h"

namespace davit::stream {

// `exit`: the exit code, or why there is none. `version`: of channel.k8s.io, 1 to 5.
std::string EndStatusText(const Result<int>& exit, int version);

// `text` as a JSON string with its quotes.
std::string JsonString(std::string_view text);

}  // namespace davit::stream
