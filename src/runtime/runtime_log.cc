#include "runtime/runtime_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/strings.h"
#include "oci/json.h"
#include "sys/unique_fd.h"

namespace davit::runtime {
namespace {

inline constexpr size_t kTailBytes = 64 * 1024;
inline constexpr size_t kMaxMessageBytes = 4096;

bool IsErrorLevel(const std::string& level) { return level == "error" || level == "fatal" || level == "panic"; }

}  // namespace

std::string LastRuntimeError(std::string_view log_text) {
  std::string_view plain;
  while (!log_text.empty()) {
    size_t end = log_text.find_last_of('\n');
    std::string_view line = Trim(end == std::string_view::npos ? log_text : log_text.substr(end + 1));
    log_text = end == std::string_view::npos ? std::string_view() : log_text.substr(0, end);
    if (line.empty()) continue;
    auto document = oci::ParseJson(line, kTailBytes, 8);
    if (!document.ok() || !document->is_object()) {
      if (plain.empty()) plain = line;
      continue;
    }
    oci::JsonNode node(*document, "log line");
    std::string message = node.Key("msg").StringOr("").value_or("");
    if (!message.empty() && IsErrorLevel(node.Key("level").StringOr("").value_or(""))) {
      return Printable(message, kMaxMessageBytes);
    }
  }
  return Printable(plain, kMaxMessageBytes);
}

std::string ReadRuntimeError(const std::string& log_file) {
  // O_NONBLOCK: whatever has been put in the log's place must not block us.
  auto fd = sys::Open(log_file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd.ok()) return "";
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
  off_t start = std::max<off_t>(0, info.st_size - static_cast<off_t>(kTailBytes));
  std::string tail(static_cast<size_t>(info.st_size - start), '\0');
  ssize_t got = ::pread(fd->get(), tail.data(), tail.size(), start);
  tail.resize(got < 0 ? 0 : static_cast<size_t>(got));
  // A cut first line would pass for plain text.
  size_t first_end = tail.find('\n');
  if (start > 0 && first_end != std::string::npos) tail.erase(0, first_end + 1);
  return LastRuntimeError(tail);
}

}  // namespace davit::runtime
