// Base64 (RFC 4648 section 4): the standard alphabet, with padding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace davit::http {

std::string Base64Encode(std::string_view bytes);
// nullopt unless the text is whole groups of four with correct padding.
std::optional<std::string> Base64Decode(std::string_view text);

}  // namespace davit::http
