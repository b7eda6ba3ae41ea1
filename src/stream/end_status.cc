#include "stream/end_status.h"

#include <fmt/format.h>

namespace davit::stream {

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

std::string EndStatusText(const Result<int>& exit, int version) {
  constexpr int kFirstJsonVersion = 4;
  if (exit.ok() && *exit == 0) {
    return version >= kFirstJsonVersion ? R"({"metadata":{},"status":"Success"})" : "";
  }
  std::string message =
      exit.ok() ? fmt::format("command terminated with exit code {}", *exit) : exit.status().message();
  if (version < kFirstJsonVersion) return message;
  if (exit.ok()) {
    return fmt::format(R"({{"metadata":{{}},"status":"Failure","message":{},"reason":"NonZeroExitCode",)"
                       R"("details":{{"causes":[{{"reason":"ExitCode","message":"{}"}}]}}}})",
                       JsonString(message), *exit);
  }
  return fmt::format(R"({{"metadata":{{}},"status":"Failure","message":{},"reason":"InternalError",)"
                     R"("details":{{"causes":[{{"message":{}}}]}},"code":500}})",
                     JsonString("Internal error occurred: " + message), JsonString(message));
}

}  // namespace davit::stream
