#include "base/time.h"

#include <cstdio>
#include <ctime>

namespace davit {

int64_t WallNanos() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string FormatRfc3339Nano(int64_t wall_nanos) {
  time_t seconds = wall_nanos / 1'000'000'000;
  long nanos = wall_nanos % 1'000'000'000;
  if (nanos < 0) {
    nanos += 1'000'000'000;
    --seconds;
  }
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, nanos);
  return text;
}

}  // namespace davit
