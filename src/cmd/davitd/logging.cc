#include "cmd/davitd/logging.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace davit::cmd {
namespace {

void Sink(LogLevel level, std::string_view line) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  // Text from outside may sit in an error; a line break in it must not forge a second log line.
  std::string clean(line);
  for (char& c : clean) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  spdlog::log(kLevels[static_cast<int>(level)], "{}", clean);
}

}  // namespace

void StartLogging(LogLevel level) {
  auto logger = spdlog::stderr_color_mt("davitd");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %^%l%$ %v");
  logger->set_level(spdlog::level::debug);
  spdlog::set_default_logger(logger);
  SetLogLevel(level);
  SetLogSink(Sink);
}

}  // namespace davit::cmd
