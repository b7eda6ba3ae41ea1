// WWW-Authenticate (RFC 9110, 11.6.1): the registry's demand, parsed.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace davit::image {

struct Challenge {
  std::string scheme;                         // lower case: "bearer", "basic"
  std::map<std::string, std::string> params;  // keys in lower case, values unquoted
};

// All challenges of one header value, in order. Malformed parts are skipped: a registry's odd header is no
// reason to fail before trying what can be read. At most 8 challenges of 16 parameters.
std::vector<Challenge> ParseChallenges(std::string_view header);

// Percent-encoding for a query component (RFC 3986): unreserved characters stay.
std::string UrlEncode(std::string_view text);

}  // namespace davit::image
