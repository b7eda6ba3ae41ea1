// The head of an HTTP/1.1 request (RFC 9112), as far as a server needs it that answers one request per
// connection: strict, capped, and without obsolete line folding.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace davit::http {

inline constexpr size_t kMaxRequestHeaders = 256;

struct RequestHead {
  std::string method;
  std::string path;                                          // decoded, without the query
  std::string raw_path;                                      // as it was sent, without the query
  std::vector<std::pair<std::string, std::string>> query;    // decoded, in order
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, values trimmed
  size_t bytes = 0;                                          // length of the head in the input

  // The first value, or empty.
  [[nodiscard]] std::string_view Header(std::string_view lower_name) const;
  // Every comma-separated item of every header of that name, trimmed, empty ones left out.
  [[nodiscard]] std::vector<std::string> HeaderItems(std::string_view lower_name) const;
  // Whether one of the items is `token`, ignoring case.
  [[nodiscard]] bool HasToken(std::string_view lower_name, std::string_view token) const;
};

// nullopt: the head is not complete yet. kInvalidArgument (answer 400): not HTTP/1.1 or malformed.
// kResourceExhausted (answer 431): more than max_bytes or kMaxRequestHeaders.
Result<std::optional<RequestHead>> ParseRequestHead(std::string_view input, size_t max_bytes);

// A whole answer with a plain text body and Connection: close. `extra` holds header lines, each with CRLF.
std::string ErrorResponse(int code, std::string_view text, std::string_view extra = {});

// nullopt when a % is not followed by two hexadecimal digits.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank);

bool EqualsIgnoreCase(std::string_view a, std::string_view b);

}  // namespace davit::http
