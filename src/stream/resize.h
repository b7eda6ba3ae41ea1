// The resize stream: JSON objects {"Width":80,"Height":24} one after another, cut anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace davit::stream {

struct TerminalSize {
  uint16_t width = 0;
  uint16_t height = 0;
  friend bool operator==(const TerminalSize&, const TerminalSize&) = default;
};

class ResizeParser {
 public:
  // The sizes that `bytes` completed. What is no such object is skipped; one longer than 1 KiB ends the
  // stream: nothing more is returned.
  std::vector<TerminalSize> Feed(std::string_view bytes);

 private:
  std::string object_;  // from its '{', as far as it is here
  bool broken_ = false;
};

}  // namespace davit::stream
