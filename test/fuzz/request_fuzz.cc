// Heads of HTTP requests, before anything is known about the client: the caps hold, nothing that could
// forge a header or a path gets through, and the result does not depend on what follows the head.
#include <string>

#include "fuzz.h"
#include "http/base64.h"
#include "http/request_head.h"

namespace http = davit::http;

namespace {

constexpr size_t kMaxHead = 16 * 1024;

bool HasControl(std::string_view text) {
  for (char c : text) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return true;
  }
  return false;
}

void CheckHead(std::string_view text, const http::RequestHead& head) {
  FUZZ_REQUIRE(head.bytes >= 4 && head.bytes <= kMaxHead && head.bytes <= text.size());
  FUZZ_REQUIRE(text.substr(head.bytes - 4, 4) == "\r\n\r\n");
  FUZZ_REQUIRE(!head.method.empty() && !HasControl(head.method) && head.method.find(' ') == std::string::npos);
  FUZZ_REQUIRE(head.path.front() == '/' && head.path.find('\0') == std::string::npos);
  FUZZ_REQUIRE(head.headers.size() <= http::kMaxRequestHeaders);
  for (const auto& header : head.headers) {
    FUZZ_REQUIRE(!header.first.empty() && !HasControl(header.first) && !HasControl(header.second));
    FUZZ_REQUIRE(header.first.find_first_of(" :ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string::npos);
    for (const std::string& item : head.HeaderItems(header.first)) FUZZ_REQUIRE(!item.empty());
  }

  auto alone = http::ParseRequestHead(text.substr(0, head.bytes), kMaxHead);
  FUZZ_REQUIRE(alone.ok() && alone->has_value() && (*alone)->headers == head.headers);
  FUZZ_REQUIRE((*alone)->path == head.path && (*alone)->query == head.query);
  auto cut = http::ParseRequestHead(text.substr(0, head.bytes - 1), kMaxHead);
  FUZZ_REQUIRE(cut.ok() && !cut->has_value());
  FUZZ_REQUIRE(http::ParseRequestHead(text, head.bytes - 1).code() == davit::StatusCode::kResourceExhausted);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  auto head = http::ParseRequestHead(text, kMaxHead);
  if (head.ok() && head->has_value()) CheckHead(text, **head);
  if (auto plain = http::Base64Decode(text)) {
    auto again = http::Base64Decode(http::Base64Encode(*plain));
    FUZZ_REQUIRE(again && *again == *plain);
  }
  return 0;
}
