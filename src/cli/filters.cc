#include "cli/filters.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace davit::cli {
namespace {

Status Bad(const std::string& text, const std::string& why) {
  return InvalidArgument(fmt::format("--filter \"{}\": {}", Printable(text), why));
}

}  // namespace

Result<Filters> ParseFilters(const std::vector<std::string>& texts, const std::vector<std::string>& known) {
  Filters out;
  for (const std::string& text : texts) {
    size_t equals = text.find('=');
    std::string key = text.substr(0, equals);
    if (equals == std::string::npos || equals == 0) return Bad(text, "is not key=value");
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Bad(text, fmt::format("the key is one of {}", Join(known, ", ")));
    }
    out.emplace(key, text.substr(equals + 1));
  }
  return out;
}

}  // namespace davit::cli
