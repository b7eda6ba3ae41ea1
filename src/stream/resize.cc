#include "stream/resize.h"

#include <optional>

#include "base/strings.h"
#include "http/request_head.h"

namespace davit::stream {
namespace {

constexpr size_t kMaxObject = 1024;

// `body` is what lies between the braces of a flat object.
std::optional<TerminalSize> ParseSize(std::string_view body) {
  TerminalSize size;
  for (const std::string& member : Split(body, ',')) {
    size_t colon = member.find(':');
    if (colon == std::string::npos) return std::nullopt;
    std::string_view name = Trim(std::string_view(member).substr(0, colon));
    auto value = ParseUint64(Trim(std::string_view(member).substr(colon + 1)));
    if (!value || *value > UINT16_MAX) return std::nullopt;
    // Names in any case, as Go's decoder takes them.
    if (http::EqualsIgnoreCase(name, "\"width\"")) size.width = static_cast<uint16_t>(*value);
    if (http::EqualsIgnoreCase(name, "\"height\"")) size.height = static_cast<uint16_t>(*value);
  }
  if (size.width == 0 || size.height == 0) return std::nullopt;
  return size;
}

}  // namespace

std::vector<TerminalSize> ResizeParser::Feed(std::string_view bytes) {
  std::vector<TerminalSize> sizes;
  for (char c : bytes) {
    if (broken_) break;
    if (object_.empty() && c != '{') continue;
    if (c == '}') {
      if (auto size = ParseSize(std::string_view(object_).substr(1))) sizes.push_back(*size);
      object_.clear();
      continue;
    }
    object_.push_back(c);
    if (object_.size() > kMaxObject) broken_ = true;
  }
  return sizes;
}

}  // namespace davit::stream
