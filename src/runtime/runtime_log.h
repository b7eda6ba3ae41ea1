// What a runtime has to say when it fails: the last error of its log.
#pragma once

#include <string>
#include <string_view>

namespace davit::runtime {

// The last error message in a runtime's log ("--log-format json": one object a line with level, msg,
// time), cut to 4 KiB; "" when the file is missing, empty or holds no error. Only the last 64 KiB are
// read. When no line is a JSON error the last line that is not JSON counts, since a runtime that dies
// early prints plain text. Control bytes are escaped: the text may quote the container's own.
std::string ReadRuntimeError(const std::string& log_file);
// The same from text, for what arrived on stderr.
std::string LastRuntimeError(std::string_view log_text);

}  // namespace davit::runtime
