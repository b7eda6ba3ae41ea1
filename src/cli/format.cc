#include "cli/format.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ids.h"
#include "base/strings.h"

namespace davit::cli {

std::string DisplayId(std::string_view id, bool full) {
  if (full) return std::string(id);
  if (id.starts_with("sha256:")) id.remove_prefix(7);
  return std::string(IsFullId(id) ? id.substr(0, 13) : id);
}

std::string Ago(int64_t now_nanos, int64_t then_nanos) {
  if (then_nanos == 0) return {};
  constexpr int64_t kSecond = 1'000'000'000;
  // A clock that was set back, or a start time from another machine: nothing better to say.
  int64_t seconds = then_nanos > now_nanos ? 0 : (now_nanos - std::max<int64_t>(then_nanos, 0)) / kSecond;
  if (seconds < 1) return "just now";
  struct Unit {
    int64_t seconds;
    std::string_view name;
  };
  constexpr Unit kUnits[] = {{365 * 86400, "year"}, {30 * 86400, "month"}, {7 * 86400, "week"}, {86400, "day"},
                             {3600, "hour"},        {60, "minute"},        {1, "second"}};
  for (const Unit& unit : kUnits) {
    int64_t count = seconds / unit.seconds;
    // "90 seconds" says more than "1 minute".
    if (count >= 2 || (count == 1 && unit.seconds == 1)) {
      return fmt::format("{} {}{} ago", count, unit.name, count == 1 ? "" : "s");
    }
  }
  return {};
}

std::string StateWord(std::string_view enum_name) {
  size_t underscore = enum_name.find('_');
  return std::string(underscore == std::string_view::npos ? enum_name : enum_name.substr(underscore + 1));
}

std::string PullLine(const PullState& state, unsigned width) {
  std::string bytes = state.total == 0
                          ? HumanBytes(state.fetched)
                          : HumanBytes(std::min(state.fetched, state.total)) + " of " + HumanBytes(state.total);
  std::string tail = fmt::format("  {}", bytes);
  if (state.layers_total > 0) tail += fmt::format("  layers {}/{}", state.layers_done, state.layers_total);
  if (state.retries > 0) tail += fmt::format("  retries {}", state.retries);
  constexpr unsigned kWidestBar = 40;
  constexpr unsigned kNarrowestBar = 8;
  std::string bar;
  if (width > tail.size() + kNarrowestBar + 2) {
    auto room = std::min<unsigned>(kWidestBar, width - static_cast<unsigned>(tail.size()) - 2);
    double share =
        state.total == 0 ? 0 : std::min(1.0, static_cast<double>(state.fetched) / static_cast<double>(state.total));
    auto filled = static_cast<size_t>(share * room);
    bar = "[" + std::string(filled, '#') + std::string(room - filled, '.') + "]";
  }
  return (bar + tail).substr(0, width);
}

}  // namespace davit::cli
