#include "config/checks.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/strings.h"

namespace davit::config {
namespace {

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

Status Bad(const std::string& value, std::string_view problem) {
  return InvalidArgument(fmt::format("\"{}\" {}", Printable(value), problem));
}

bool IsHostCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

Status CheckUrl(std::string& url) {
  std::string_view rest = url;
  if (rest.rfind("http://", 0) == 0)
    rest.remove_prefix(7);
  else if (rest.rfind("https://", 0) == 0)
    rest.remove_prefix(8);
  else
    return Bad(url, "does not begin with http:// or https://");
  if (std::any_of(url.begin(), url.end(), [](char c) { return IsControl(c) || c == ' '; })) {
    return Bad(url, "contains a blank or control character");
  }
  if (rest.find_first_of("@?#") != std::string_view::npos) return Bad(url, "has a user, query or fragment");
  if (Status status = CheckRegistryHost(std::string(rest.substr(0, rest.find('/')))); !status.ok()) {
    return Bad(url, "has no valid host");
  }
  while (url.back() == '/') url.pop_back();
  return {};
}

}  // namespace

Status CheckAbsolutePath(std::string& path) {
  if (path.empty() || path.front() != '/') return Bad(path, "is not an absolute path");
  if (std::any_of(path.begin(), path.end(), IsControl)) return Bad(path, "contains a control character");
  if (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path == "/") return {};
  for (const std::string& part : Split(std::string_view(path).substr(1), '/')) {
    if (part.empty() || part == "." || part == "..") return Bad(path, "has an empty, \".\" or \"..\" component");
  }
  return {};
}

Status CheckOptionalPath(std::string& path) { return path.empty() ? Status() : CheckAbsolutePath(path); }

Status CheckPaths(std::vector<std::string>& paths) {
  if (paths.empty()) return InvalidArgument("the list is empty");
  for (std::string& path : paths) RETURN_IF_ERROR(CheckAbsolutePath(path));
  return {};
}

Status CheckSocketPath(std::string& path) {
  if (path.rfind("unix://", 0) == 0) path.erase(0, 7);
  RETURN_IF_ERROR(CheckAbsolutePath(path));
  constexpr size_t kMax = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() > kMax) return Bad(path, fmt::format("is longer than the {} bytes of a socket address", kMax));
  return {};
}

Status CheckOptionalSocketPath(std::string& path) { return path.empty() ? Status() : CheckSocketPath(path); }

Status CheckListenAddress(const std::string& text) {
  if (text.empty()) return {};
  if (text.rfind("unix://", 0) == 0) {
    std::string path = text;
    return CheckSocketPath(path);
  }
  size_t colon = text.rfind(':');
  std::optional<uint64_t> port = ParseUint64(colon == std::string::npos ? "" : text.substr(colon + 1));
  if (!port || *port > 65535) return Bad(text, "is neither IP:PORT nor unix:///PATH");
  std::string host = text.substr(0, colon);
  bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  if ((host.find(':') != std::string::npos) != brackets) return Bad(text, "needs brackets around an IPv6 address only");
  return CheckIpAddress(host);
}

Status CheckRange(int64_t number, int64_t low, int64_t high) {
  if (number >= low && number <= high) return {};
  if (high == std::numeric_limits<int64_t>::max())
    return InvalidArgument(fmt::format("{} is less than {}", number, low));
  return InvalidArgument(fmt::format("{} is not in the range {} to {}", number, low, high));
}

Status CheckOneOf(const std::string& word, const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), word) != allowed.end()) return {};
  return Bad(word, fmt::format("is none of {}", Join(allowed, ", ")));
}

Status CheckIpAddress(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  if (::inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
      ::inet_pton(AF_INET6, text.c_str(), address.data()) == 1) {
    return {};
  }
  return Bad(text, "is not an IP address");
}

Status CheckRegistryHost(const std::string& text) {
  size_t colon = text.rfind(':');
  std::string host = text;
  // "[::1]:5000": the last colon outside the brackets starts the port.
  if (colon != std::string::npos && text.find(']', colon) == std::string::npos) {
    std::optional<uint64_t> port = ParseUint64(std::string_view(text).substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) return Bad(text, "has no valid port");
    host = text.substr(0, colon);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    return CheckIpAddress(host.substr(1, host.size() - 2));
  }
  if (host.empty() || host.size() > 253 || !std::all_of(host.begin(), host.end(), IsHostCharacter)) {
    return Bad(text, "is not a host in lower case with an optional port");
  }
  return {};
}

Status CheckMirrors(std::vector<std::string>& urls) {
  for (std::string& url : urls) RETURN_IF_ERROR(CheckUrl(url));
  return {};
}

Status CheckCapabilities(std::vector<std::string>& names) {
  for (std::string& name : names) {
    std::string upper = name;
    for (char& c : upper) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    if (upper.rfind("CAP_", 0) != 0) upper.insert(0, "CAP_");
    bool sane = upper.size() > 4 && upper.size() < 64 &&
                std::all_of(upper.begin(), upper.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; });
    if (!sane || upper == "CAP_ALL") return Bad(name, "is not a capability");
    name = std::move(upper);
  }
  return {};
}

Status CheckArguments(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    bool printable = std::all_of(argument.begin(), argument.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
    if (argument.size() < 3 || argument.compare(0, 2, "--") != 0 || !printable) {
      return Bad(argument, "is no option: write \"--name\" or \"--name=value\"");
    }
  }
  return {};
}

Status CheckGlobs(const std::vector<std::string>& globs) {
  for (const std::string& glob : globs) {
    if (glob.empty() || std::any_of(glob.begin(), glob.end(), [](char c) { return IsControl(c) || c == ' '; })) {
      return Bad(glob, "is not a pattern for image references");
    }
  }
  return {};
}

Result<int64_t> ParseSize(std::string_view text) {
  struct Unit {
    std::string_view name;
    int64_t bytes;
  };
  static constexpr std::array<Unit, 11> kUnits = {{{"", 1},
                                                   {"B", 1},
                                                   {"kB", 1000},
                                                   {"KB", 1000},
                                                   {"MB", 1'000'000},
                                                   {"GB", 1'000'000'000},
                                                   {"TB", 1'000'000'000'000},
                                                   {"KiB", int64_t{1} << 10},
                                                   {"MiB", int64_t{1} << 20},
                                                   {"GiB", int64_t{1} << 30},
                                                   {"TiB", int64_t{1} << 40}}};
  size_t end = 0;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  std::optional<int64_t> number = ParseInt64(text.substr(0, end));
  std::string_view unit = Trim(text.substr(end));
  for (const Unit& known : kUnits) {
    int64_t bytes = 0;
    if (number && known.name == unit && !__builtin_mul_overflow(*number, known.bytes, &bytes)) return bytes;
  }
  return InvalidArgument(fmt::format("\"{}\" is not a size such as 4096, \"64 MiB\" or \"2 GB\"", Printable(text)));
}

}  // namespace davit::config
