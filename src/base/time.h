// Wall-clock time in the units that CRI uses.
#pragma once

#include <cstdint>
#include <string>

namespace davit {

// Nanoseconds since the epoch (CLOCK_REALTIME).
int64_t WallNanos();

// RFC 3339 with nine fractional digits, in UTC: "2026-11-22T10:00:00.000000000Z".
std::string FormatRfc3339Nano(int64_t wall_nanos);

}  // namespace davit
