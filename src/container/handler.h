// What an administrator has decided about one runtime handler, as far as containers are concerned
// (davit.toml(5), [runtime.handlers.NAME]).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace davit::container {

struct HandlerSettings {
  bool privileged_without_host_devices = false;
  std::vector<std::string> allowed_annotations;  // see container/annotations.h
  std::vector<std::string> allowed_devices;      // host paths that an annotation may ask for
  std::string monitor_path;                      // empty: the engine's
  int64_t max_log_line_bytes = 0;                // 0: the engine's
};

}  // namespace davit::container
