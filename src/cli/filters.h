// --filter of the lists: "key=value", several of one key being "any of them", but of labels "all of them", as docker
// and podman read them. Pure.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace davit::cli {

using Filters = std::multimap<std::string, std::string>;

// ["a=b", …] as keys and values. kInvalidArgument for a key that is not in `known`, which it names.
Result<Filters> ParseFilters(const std::vector<std::string>& texts, const std::vector<std::string>& known);

// "key" is there whatever its value, "key=value" with that one. Of any map of strings.
template <class Labels>
bool LabelHolds(const Labels& labels, const std::string& wanted) {
  const size_t equals = wanted.find('=');
  auto found = labels.find(wanted.substr(0, equals));
  return found != labels.end() && (equals == std::string::npos || found->second == wanted.substr(equals + 1));
}

// `holds(key, value)` is asked for each filter until its key is decided.
template <class Holds>
bool Matches(const Filters& filters, const Holds& holds) {
  for (auto at = filters.begin(); at != filters.end(); at = filters.upper_bound(at->first)) {
    auto [first, last] = filters.equal_range(at->first);
    auto one = [&](const auto& pair) { return holds(pair.first, pair.second); };
    if (at->first == "label" ? !std::all_of(first, last, one) : !std::any_of(first, last, one)) return false;
  }
  return true;
}

}  // namespace davit::cli
