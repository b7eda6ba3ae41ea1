// LogFrames: bytes of a CRI log file, cut anywhere, as clients get them: frames, or text of a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace davit::api {

struct LogOptions {
  bool out = true;
  bool err = true;
  bool timestamps = false;
  bool raw = false;   // no frames: the container has a terminal
  int64_t since = 0;  // nanoseconds since the epoch; 0: from the beginning
  int64_t until = 0;  // 0: no end
};

class LogFrames {
 public:
  explicit LogFrames(const LogOptions& options) : options_(options) {}
  std::string Feed(std::string_view bytes);
  // The unfinished line at the end of the log.
  std::string Finish();
  // A line after `until` has come.
  [[nodiscard]] bool past_end() const { return past_end_; }

 private:
  void Line(std::string_view line, std::string& to);

  const LogOptions options_;
  std::string rest_;
  bool dropping_ = false;  // a line beyond the cap
  bool midline_[2] = {false, false};
  bool past_end_ = false;
};

}  // namespace davit::api
