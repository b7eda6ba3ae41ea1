#include "api/filters.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <regex>

#include "api/json_reader.h"
#include "base/strings.h"
#include "base/time.h"

namespace davit::api {
namespace {

const std::vector<std::string> kNothing;
constexpr size_t kMaxPattern = 256;

}  // namespace

Result<Filters> Filters::Parse(std::string_view text, const std::vector<std::string>& known) {
  Filters filters;
  if (Trim(text).empty()) return filters;
  ASSIGN_OR_RETURN_WITH(JsonDocument document, JsonDocument::Parse(text), "filters");
  for (const auto& [key, value] : document.root().Members()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return InvalidArgument(fmt::format("{} is an invalid filter", Printable(key)));
    }
    std::vector<std::string>& values = filters.values_[key];
    if (value.is_object()) {
      for (const auto& [name, on] : value.Members()) {
        if (on.Bool()) values.push_back(name);
      }
    } else {
      values = value.Strings();
    }
    if (values.empty()) filters.values_.erase(key);
  }
  RETURN_IF_ERROR(document.status().Annotate("filters"));
  return filters;
}

const std::vector<std::string>& Filters::Values(std::string_view key) const {
  auto it = values_.find(key);
  return it == values_.end() ? kNothing : it->second;
}

bool Filters::Equals(std::string_view key, std::string_view text) const {
  if (!Has(key)) return true;
  const auto& values = Values(key);
  return std::find(values.begin(), values.end(), text) != values.end();
}

bool Filters::Begins(std::string_view key, std::string_view text) const {
  if (!Has(key)) return true;
  for (const std::string& value : Values(key)) {
    if (text.starts_with(value)) return true;
  }
  return false;
}

bool Filters::Matches(std::string_view key, std::string_view text) const {
  if (!Has(key)) return true;
  for (const std::string& value : Values(key)) {
    if (text.find(value) != std::string_view::npos) return true;
    if (value.size() > kMaxPattern || value.find_first_of("^$.*+?[]()|\\") == std::string::npos) continue;
    // Names are short, so that even a pattern of the worst kind ends soon enough.
    if (text.size() > 255) continue;
    try {
      if (std::regex_search(text.begin(), text.end(), std::regex(value))) return true;
    } catch (const std::regex_error&) {
      continue;
    }
  }
  return false;
}

bool Filters::LabelsOf(const std::map<std::string, std::string>& labels) const {
  auto has = [&](const std::string& wanted) {
    size_t equals = wanted.find('=');
    auto it = labels.find(wanted.substr(0, equals));
    return it != labels.end() && (equals == std::string::npos || it->second == wanted.substr(equals + 1));
  };
  for (const std::string& wanted : Values("label")) {
    if (!has(wanted)) return false;
  }
  for (const std::string& unwanted : Values("label!")) {
    if (has(unwanted)) return false;
  }
  return true;
}

Result<int64_t> ParseGoDuration(std::string_view text) {
  std::string_view whole = text;
  bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  double total = 0;
  bool any = false;
  while (!text.empty()) {
    size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    size_t unit_end = std::min(text.find_first_of("0123456789.", digits), text.size());
    std::string number(text.substr(0, digits));
    std::string_view unit = text.substr(digits, unit_end - digits);
    char* end = nullptr;
    double value = std::strtod(number.c_str(), &end);
    double scale = unit == "h"    ? 3600e9
                   : unit == "m"  ? 60e9
                   : unit == "s"  ? 1e9
                   : unit == "ms" ? 1e6
                   : unit == "us" ? 1e3
                   : unit == "ns" ? 1
                                  : 0;
    if (number.empty() || *end != '\0' || scale == 0) {
      return InvalidArgument(fmt::format("\"{}\" is no duration", Printable(whole)));
    }
    total += value * scale;
    any = true;
    text.remove_prefix(unit_end);
  }
  if (!any || total > 9e18) return InvalidArgument(fmt::format("\"{}\" is no duration", Printable(whole)));
  return static_cast<int64_t>(negative ? -total : total);
}

Result<int64_t> ParseTimestamp(std::string_view text, std::string_view what) {
  std::string copy(Trim(text));
  if (copy.empty() || copy == "0" || copy.starts_with("0001-01-01")) return int64_t{0};
  Status bad = InvalidArgument(fmt::format("{}: \"{}\" is no time", what, Printable(text)));
  if (copy.find_first_not_of("0123456789.") == std::string::npos) {
    size_t dot = copy.find('.');
    auto seconds = ParseInt64(copy.substr(0, dot));
    if (!seconds || *seconds > 9'000'000'000) return bad;
    std::string fraction = dot == std::string::npos ? "" : copy.substr(dot + 1, 9);
    fraction.resize(9, '0');
    auto nanos = ParseInt64(fraction);
    if (!nanos) return bad;
    return *seconds * 1'000'000'000 + *nanos;
  }
  if (Result<int64_t> ago = ParseGoDuration(copy); ago.ok()) return WallNanos() - *ago;
  std::tm parts{};
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%d", &parts);
  if (rest == nullptr) return bad;
  if (*rest == 'T' || *rest == ' ') {
    const char* time = ::strptime(rest + 1, "%H:%M:%S", &parts);
    if (time == nullptr) time = ::strptime(rest + 1, "%H:%M", &parts);
    if (time == nullptr) return bad;
    rest = time;
  }
  int64_t nanos = 0;
  if (*rest == '.') {
    std::string fraction;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest) fraction += *rest;
    fraction.resize(9, '0');
    nanos = ParseInt64(fraction).value_or(0);
  }
  int64_t offset = 0;
  if (*rest == 'Z') {
    ++rest;
  } else if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return bad;
    offset = (*rest == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    rest += 6;
  }
  if (*rest != '\0') return bad;
  return (static_cast<int64_t>(::timegm(&parts)) - offset) * 1'000'000'000 + nanos;
}

}  // namespace davit::api
