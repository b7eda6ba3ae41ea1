// The `filters` parameter: a JSON object in the query, in either of two encodings: {"label": ["a=b"]} of Podman and
// docker-py, {"label": {"a=b": true}} of docker.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/exchange.h"
#include "base/result.h"

namespace davit::api {

class Filters {
 public:
  // kInvalidArgument: not JSON, or a filter that is not of `known`.
  static Result<Filters> Parse(std::string_view text, const std::vector<std::string>& known);
  static Result<Filters> Of(const Request& request, const std::vector<std::string>& known) {
    return Parse(request.Query("filters"), known);
  }

  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] bool Has(std::string_view key) const { return values_.find(key) != values_.end(); }
  [[nodiscard]] const std::vector<std::string>& Values(std::string_view key) const;

  // Whether one of the values of `key` equals `text`; true when the filter is not set.
  [[nodiscard]] bool Equals(std::string_view key, std::string_view text) const;
  // As a beginning (of ids).
  [[nodiscard]] bool Begins(std::string_view key, std::string_view text) const;
  // As a regular expression that matches a part (of names); with a bad one: as a part.
  [[nodiscard]] bool Matches(std::string_view key, std::string_view text) const;
  // All of "label" and none of "label!": "key" or "key=value" each.
  template <class Map>
  [[nodiscard]] bool Labels(const Map& labels) const {
    return LabelsOf(std::map<std::string, std::string>(labels.begin(), labels.end()));
  }

 private:
  [[nodiscard]] bool LabelsOf(const std::map<std::string, std::string>& labels) const;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

// "1700000000", "1700000000.5", RFC 3339, or a duration of Go ("10m": so long ago); nanoseconds since the epoch.
// 0 for an empty text and for Go's zero time. kInvalidArgument naming `what`.
Result<int64_t> ParseTimestamp(std::string_view text, std::string_view what);
// "1h2m3.5s"; nanoseconds.
Result<int64_t> ParseGoDuration(std::string_view text);

}  // namespace davit::api
