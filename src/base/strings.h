// Small text functions that the standard library lacks. All take views and return values; parsing is
// strict: the whole text or an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace davit {

// Pieces between separators, empty ones kept: Split("a,,b", ',') is {"a", "", "b"}.
std::vector<std::string> Split(std::string_view text, char separator);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);
// Without leading and trailing blanks, tabs and line ends. The view is into `text`.
std::string_view Trim(std::string_view text);

std::string HexEncode(std::string_view bytes);
// nullopt unless `hex` is an even number of [0-9a-fA-F].
std::optional<std::string> HexDecode(std::string_view hex);

// Decimal digits only, no sign, blank or overflow.
std::optional<uint64_t> ParseUint64(std::string_view text);
// As ParseUint64, with an optional leading '-'.
std::optional<int64_t> ParseInt64(std::string_view text);

// True for a name that may become one component of a path: 1 to 255 of [A-Za-z0-9_.-], and neither
// "." nor "..".
bool IsPathComponent(std::string_view name);

// Printable ASCII as it is, other bytes as \xNN, cut after `max` bytes with "...": for putting
// outside text into an error.
std::string Printable(std::string_view text, size_t max = 128);

// The candidate nearest to `word` by edit distance, if near enough to be a misspelling of it.
std::optional<std::string> NearestWord(std::string_view word, const std::vector<std::string>& candidates);

// "204.1 MB": decimal units, as registries and disks count.
std::string HumanBytes(uint64_t bytes);

}  // namespace davit
