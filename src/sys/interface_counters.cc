#include "sys/interface_counters.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/strings.h"
#include "sys/namespaces.h"

namespace davit::sys {
namespace {

constexpr size_t kMaxBytes = 1 << 20;  // some thousand interfaces

// The next number of a line; blanks before it are skipped.
std::optional<uint64_t> NextNumber(std::string_view& line) {
  size_t begin = line.find_first_not_of(' ');
  if (begin == std::string_view::npos) return std::nullopt;
  line.remove_prefix(begin);
  size_t end = line.find(' ');
  std::optional<uint64_t> number = ParseUint64(line.substr(0, end));
  line.remove_prefix(end == std::string_view::npos ? line.size() : end);
  return number;
}

// "  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0": bytes packets errs drop fifo frame compressed multicast, then
// bytes packets errs drop and four more of what was sent.
std::optional<InterfaceUse> ParseLine(std::string_view line) {
  size_t colon = line.rfind(':');  // an interface's name may hold one
  if (colon == std::string_view::npos) return std::nullopt;
  InterfaceUse use;
  use.name = std::string(Trim(line.substr(0, colon)));
  line.remove_prefix(colon + 1);
  std::array<uint64_t, 12> numbers;
  for (uint64_t& number : numbers) {
    std::optional<uint64_t> next = NextNumber(line);
    if (!next) return std::nullopt;
    number = *next;
  }
  use.rx_bytes = numbers[0];
  use.rx_packets = numbers[1];
  use.rx_errors = numbers[2];
  use.rx_dropped = numbers[3];
  use.tx_bytes = numbers[8];
  use.tx_packets = numbers[9];
  use.tx_errors = numbers[10];
  use.tx_dropped = numbers[11];
  return use;
}

}  // namespace

std::vector<InterfaceUse> ParseNetDev(std::string_view text) {
  std::vector<InterfaceUse> all;
  while (!text.empty()) {
    size_t end = text.find('\n');
    if (std::optional<InterfaceUse> use = ParseLine(text.substr(0, end))) all.push_back(std::move(*use));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return all;
}

Result<InterfaceCounters> InterfaceCounters::Open(const std::string& netns_path) {
  UniqueFd fd;
  RETURN_IF_ERROR(RunInNamespace(netns_path, NamespaceKind::kNet, [&]() -> Status {
    // Of this thread: /proc/net is the process's first thread's.
    ASSIGN_OR_RETURN(fd, sys::Open("/proc/thread-self/net/dev", O_RDONLY));
    return {};
  }));
  return InterfaceCounters(std::move(fd));
}

Result<std::vector<InterfaceUse>> InterfaceCounters::Read() const {
  std::array<char, 4096> buffer;
  std::string more;  // for namespaces with more interfaces than a page holds
  size_t offset = 0;
  for (;;) {
    ssize_t n = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read interface counters");
    if (n == 0) return ParseNetDev(more);
    more.append(buffer.data(), static_cast<size_t>(n));
    offset += static_cast<size_t>(n);
    if (offset > kMaxBytes) return ResourceExhausted("interface counters: more than 1 MiB of interfaces");
  }
}

}  // namespace davit::sys
