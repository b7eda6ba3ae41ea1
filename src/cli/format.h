// How single values look on the screen.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace davit::cli {

// The first 13 digits of an id, without an algorithm in front; the whole text when `full`.
std::string DisplayId(std::string_view id, bool full);

// "5 seconds ago", "2 minutes ago", …; "just now" below one second and for the future; "" for then == 0.
// Both in nanoseconds since the epoch.
std::string Ago(int64_t now_nanos, int64_t then_nanos);

// "READY" of "SANDBOX_READY", "RUNNING" of "CONTAINER_RUNNING".
std::string StateWord(std::string_view enum_name);

struct PullState {
  uint64_t fetched = 0;  // bytes, compressed
  uint64_t total = 0;    // 0: not known yet
  uint64_t unpacked = 0;
  unsigned layers_done = 0;
  unsigned layers_total = 0;
  unsigned retries = 0;
};
// One line of at most `width` columns: a bar, bytes, layers.
std::string PullLine(const PullState& state, unsigned width);

}  // namespace davit::cli
