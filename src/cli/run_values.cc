#include "cli/run_values.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <ctime>

#include "base/strings.h"
#include "base/time.h"
#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"
#include "sys/unique_fd.h"

namespace davit::cli {

namespace cri = ::runtime::v1;
namespace control = ::davit::control::v1;

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr size_t kMaxPairsFile = 1 << 20;
constexpr size_t kMostPortsOfARange = 1024;

Status Bad(std::string_view flag, const std::string& text, std::string_view why) {
  return InvalidArgument(fmt::format("{} \"{}\": {}", flag, Printable(text), why));
}

// Digits, with at most one point between them.
bool IsDecimal(std::string_view text) {
  size_t points = 0, digits = 0;
  for (char c : text) {
    points += c == '.' ? 1 : 0;
    digits += c >= '0' && c <= '9' ? 1 : 0;
  }
  return digits > 0 && points <= 1 && points + digits == text.size() && text.size() < 20;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The first and the last of "80" or "80-90".
Result<std::pair<int32_t, int32_t>> ParseRange(const std::string& text, const std::string& whole) {
  auto port = [&](const std::string& one) -> Result<int32_t> {
    auto number = ParseUint64(one);
    if (!number || *number == 0 || *number > 65535) {
      return Bad("-p", whole, fmt::format("\"{}\" is no port (1 to 65535)", Printable(one)));
    }
    return static_cast<int32_t>(*number);
  };
  size_t dash = text.find('-');
  ASSIGN_OR_RETURN(int32_t first, port(text.substr(0, dash)));
  if (dash == std::string::npos) return std::pair(first, first);
  ASSIGN_OR_RETURN(int32_t last, port(text.substr(dash + 1)));
  if (last < first) return Bad("-p", whole, "the range ends before it begins");
  if (static_cast<size_t>(last - first) >= kMostPortsOfARange) return Bad("-p", whole, "a range of over 1024 ports");
  return std::pair(first, last);
}

Result<cri::Protocol> TakeProtocol(std::string& text, const std::string& whole) {
  size_t slash = text.rfind('/');
  if (slash == std::string::npos) return cri::TCP;
  std::string protocol = Lower(text.substr(slash + 1));
  text.resize(slash);
  if (protocol == "tcp") return cri::TCP;
  if (protocol == "udp") return cri::UDP;
  if (protocol == "sctp") return cri::SCTP;
  return Bad("-p", whole, "the protocol is tcp, udp or sctp");
}

// What stands behind the target of -v and --tmpfs.
Status TakeMountWord(const std::string& word, MountWords& to, std::string_view flag, const std::string& whole) {
  if (word == "ro" || word == "readonly") {
    to.readonly = true;
  } else if (word == "nocopy") {
    to.no_copy = true;
  } else if (word == "z" || word == "Z") {
    to.relabel = true;
  } else if (word == "shared" || word == "rshared" || word == "slave" || word == "rslave" || word == "private" ||
             word == "rprivate") {
    to.propagation = word;
  } else if (word != "rw" && word != "rbind" && word != "bind" && word != "copy" && !word.empty()) {
    return Bad(
        flag, whole,
        fmt::format("the option \"{}\" is not known (ro, rw, z, Z, nocopy, shared, slave, private)", Printable(word)));
  }
  return {};
}

Status CheckTarget(const MountWords& mount, std::string_view flag, const std::string& whole) {
  if (!mount.target.starts_with("/")) return Bad(flag, whole, "the path in the container must be absolute");
  if (mount.type == "bind" && !mount.source.starts_with("/")) return Bad(flag, whole, "the source must be absolute");
  return {};
}

// Seconds since the epoch of "2006-01-02T15:04:05", "2006-01-02 15:04" or "2006-01-02", and what is behind it.
bool ParseDate(const std::string& text, time_t& seconds, std::string& rest) {
  for (const char* format : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"}) {
    tm parts{};
    const char* end = ::strptime(text.c_str(), format, &parts);
    if (end == nullptr) continue;
    seconds = ::timegm(&parts);
    rest = end;
    return true;
  }
  return false;
}

}  // namespace

Result<int64_t> ParseBytes(const std::string& text, std::string_view flag, bool unlimited) {
  if (unlimited && text == "-1") return -1;
  size_t unit = text.find_first_not_of("0123456789.");
  std::string number = text.substr(0, unit);
  std::string name = unit == std::string::npos ? "" : Lower(text.substr(unit));
  static const std::map<std::string, int, std::less<>> kShift = {
      {"", 0},     {"b", 0},  {"k", 10},  {"kb", 10},  {"kib", 10}, {"m", 20},  {"mb", 20},
      {"mib", 20}, {"g", 30}, {"gb", 30}, {"gib", 30}, {"t", 40},   {"tb", 40}, {"tib", 40}};
  auto shift = kShift.find(name);
  if (!IsDecimal(number) || shift == kShift.end()) {
    return Bad(flag, text, "is no size (bytes, or with a unit: 64k, 256m, 1.5g)");
  }
  double value = std::ldexp(std::strtod(number.c_str(), nullptr), shift->second);
  if (value > 9e18) return Bad(flag, text, "is too large");
  return static_cast<int64_t>(value);
}

Result<int64_t> ParseDuration(const std::string& text, std::string_view flag) {
  static const std::map<std::string, double, std::less<>> kUnits = {
      {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
  constexpr std::string_view kWhy = "is no duration (90s, 1m30s, 500ms)";
  if (text.empty() || text.size() > 64) return Bad(flag, text, kWhy);
  if (IsDecimal(text)) return ParseDuration(text + "s", flag);
  double nanos = 0;
  size_t at = 0;
  while (at < text.size()) {
    size_t unit = text.find_first_not_of("0123456789.", at);
    if (unit == std::string::npos || !IsDecimal(std::string_view(text).substr(at, unit - at))) {
      return Bad(flag, text, kWhy);
    }
    size_t next = std::min(text.find_first_of("0123456789.", unit), text.size());
    auto factor = kUnits.find(text.substr(unit, next - unit));
    if (factor == kUnits.end()) return Bad(flag, text, kWhy);
    nanos += std::strtod(text.substr(at, unit - at).c_str(), nullptr) * factor->second;
    at = next;
  }
  if (nanos > 9e18) return Bad(flag, text, "is too long");
  return static_cast<int64_t>(nanos);
}

Result<int64_t> ParseMoment(const std::string& text, std::string_view flag, int64_t now_nanos) {
  time_t seconds = 0;
  std::string rest;
  if (ParseDate(text, seconds, rest)) {
    double fraction = 0;
    if (rest.starts_with(".")) {
      size_t end = std::min(rest.find_first_not_of("0123456789", 1), rest.size());
      fraction = std::strtod(rest.substr(0, end).c_str(), nullptr);
      rest = rest.substr(end);
    }
    int64_t offset = 0;
    if (rest.size() == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':') {
      auto hours = ParseUint64(rest.substr(1, 2));
      auto minutes = ParseUint64(rest.substr(4));
      if (!hours || !minutes) return Bad(flag, text, "the time zone is not ±HH:MM");
      offset = static_cast<int64_t>(*hours * 3600 + *minutes * 60) * (rest[0] == '-' ? -1 : 1);
      rest.clear();
    }
    if (rest.empty() || rest == "Z") return (seconds - offset) * kSecond + static_cast<int64_t>(fraction * 1e9);
  }
  constexpr std::string_view kWhy = "is no moment (2026-01-31T12:00:00Z, seconds since the epoch, or 10m ago as 10m)";
  if (IsDecimal(text)) {
    double value = std::strtod(text.c_str(), nullptr);
    if (value > 9e9) return Bad(flag, text, kWhy);
    return static_cast<int64_t>(value * 1e9);
  }
  Result<int64_t> ago = ParseDuration(text, flag);
  if (!ago.ok()) return Bad(flag, text, kWhy);
  return now_nanos - *ago;
}

Result<std::vector<cri::PortMapping>> ParsePublish(const std::string& whole) {
  std::string text = whole;
  ASSIGN_OR_RETURN(cri::Protocol protocol, TakeProtocol(text, whole));
  std::string address;
  std::string host;
  size_t colon = text.rfind(':');
  ASSIGN_OR_RETURN(auto inside, ParseRange(colon == std::string::npos ? text : text.substr(colon + 1), whole));
  if (colon != std::string::npos) {
    text.resize(colon);
    colon = text.rfind(':');
    host = colon == std::string::npos ? text : text.substr(colon + 1);
    if (colon != std::string::npos) address = text.substr(0, colon);
    if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
      address = address.substr(1, address.size() - 2);
    }
  }
  std::pair<int32_t, int32_t> outside(0, 0);
  if (!host.empty()) {
    ASSIGN_OR_RETURN(outside, ParseRange(host, whole));
    if (outside.second - outside.first != inside.second - inside.first) {
      return Bad("-p", whole, "the ranges are not of the same length");
    }
  }
  std::vector<cri::PortMapping> out;
  for (int32_t i = 0; i <= inside.second - inside.first; ++i) {
    cri::PortMapping& mapping = out.emplace_back();
    mapping.set_protocol(protocol);
    mapping.set_container_port(inside.first + i);
    mapping.set_host_port(outside.first == 0 ? 0 : outside.first + i);
    if (address != "0.0.0.0") mapping.set_host_ip(address);
  }
  return out;
}

Result<control::RestartPolicy> ParseRestart(const std::string& text) {
  control::RestartPolicy out;
  size_t colon = text.find(':');
  out.set_name(text.substr(0, colon));
  const std::string& name = out.name();
  bool known = name == "no" || name == "always" || name == "unless-stopped" || name == "on-failure";
  if (!known) return Bad("--restart", text, "no, on-failure[:TIMES], always or unless-stopped");
  if (colon == std::string::npos) return out;
  auto times = ParseUint64(text.substr(colon + 1));
  if (name != "on-failure" || !times || *times > 1'000'000) {
    return Bad("--restart", text, "only on-failure takes a number of times");
  }
  out.set_maximum_retries(static_cast<uint32_t>(*times));
  return out;
}

Result<control::Ulimit> ParseUlimit(const std::string& text) {
  control::Ulimit out;
  size_t equals = text.find('=');
  std::string values = equals == std::string::npos ? "" : text.substr(equals + 1);
  size_t colon = values.find(':');
  auto soft = ParseInt64(values.substr(0, colon));
  auto hard = colon == std::string::npos ? soft : ParseInt64(values.substr(colon + 1));
  if (equals == 0 || !soft || !hard || *soft < -1 || *hard < -1) {
    return Bad("--ulimit", text, "is not NAME=SOFT[:HARD]");
  }
  out.set_name(text.substr(0, equals));
  out.set_soft(*soft);
  out.set_hard(*hard);
  return out;
}

Result<MountWords> ParseVolumeFlag(const std::string& text) {
  std::vector<std::string> parts = Split(text, ':');
  MountWords out;
  if (parts.size() > 3) return Bad("-v", text, "is not [SOURCE:]TARGET[:OPTIONS]");
  out.type = "volume";
  out.target = parts.size() == 1 ? parts[0] : parts[1];
  if (parts.size() > 1) {
    out.source = parts[0];
    if (out.source.starts_with("/") || out.source.starts_with("./") || out.source.starts_with("../") ||
        out.source == ".") {
      out.type = "bind";
    }
    if (out.source.empty()) return Bad("-v", text, "is not [SOURCE:]TARGET[:OPTIONS]");
  }
  if (out.type == "bind" && !out.source.starts_with("/")) {
    char* absolute = ::realpath(out.source.c_str(), nullptr);
    if (absolute == nullptr) return ErrnoError(errno, "-v " + Printable(text));
    out.source = absolute;
    std::free(absolute);
  }
  if (parts.size() == 3) {
    for (const std::string& word : Split(parts[2], ',')) RETURN_IF_ERROR(TakeMountWord(word, out, "-v", text));
  }
  RETURN_IF_ERROR(CheckTarget(out, "-v", text));
  return out;
}

Result<MountWords> ParseMountFlag(const std::string& text) {
  MountWords out;
  out.type = "volume";
  for (const std::string& word : Split(text, ',')) {
    size_t equals = word.find('=');
    std::string key = word.substr(0, equals);
    std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (key == "type") {
      out.type = value;
    } else if (key == "source" || key == "src") {
      out.source = value;
    } else if (key == "target" || key == "destination" || key == "dst") {
      out.target = value;
    } else if (key == "readonly" || key == "ro") {
      out.readonly = value.empty() || value == "true" || value == "1";
    } else if (key == "bind-propagation") {
      RETURN_IF_ERROR(TakeMountWord(value, out, "--mount", text));
    } else if (key == "volume-nocopy") {
      out.no_copy = value.empty() || value == "true" || value == "1";
    } else if (key == "volume-subpath") {
      out.sub_path = value;
    } else if (key == "relabel") {
      out.relabel = true;
    } else if (key == "tmpfs-size" || key == "tmpfs-mode") {
      out.tmpfs_options += (out.tmpfs_options.empty() ? "" : ",") + key.substr(6) + "=" + value;
    } else {
      return Bad("--mount", text, fmt::format("the key \"{}\" is not known", Printable(key)));
    }
  }
  if (out.type != "bind" && out.type != "volume" && out.type != "tmpfs") {
    return Bad("--mount", text, "the type is bind, volume or tmpfs");
  }
  RETURN_IF_ERROR(CheckTarget(out, "--mount", text));
  return out;
}

Result<MountWords> ParseTmpfsFlag(const std::string& text) {
  size_t colon = text.find(':');
  MountWords out;
  out.type = "tmpfs";
  out.target = text.substr(0, colon);
  if (colon != std::string::npos) out.tmpfs_options = text.substr(colon + 1);
  RETURN_IF_ERROR(CheckTarget(out, "--tmpfs", text));
  return out;
}

Status AddUser(const std::string& user, cri::LinuxContainerSecurityContext& context) {
  if (user.empty()) return {};
  size_t colon = user.find(':');
  std::string name = user.substr(0, colon);
  auto uid = ParseUint64(name);
  if (uid) {
    context.mutable_run_as_user()->set_value(static_cast<int64_t>(*uid));
  } else {
    context.set_run_as_username(name);
  }
  if (colon == std::string::npos) return {};
  auto gid = ParseUint64(user.substr(colon + 1));
  if (!gid) return InvalidArgument(fmt::format("-u \"{}\": the group must be a number", Printable(user)));
  context.mutable_run_as_group()->set_value(static_cast<int64_t>(*gid));
  return {};
}

Result<std::vector<std::string>> ReadPairsFile(const std::string& path) {
  ASSIGN_OR_RETURN_WITH(std::string text, sys::ReadFile(path, kMaxPairsFile), "read " + Printable(path));
  std::vector<std::string> out;
  for (const std::string& raw : Split(text, '\n')) {
    std::string line(raw.ends_with('\r') ? raw.substr(0, raw.size() - 1) : raw);
    line.erase(0, line.find_first_not_of(" \t"));
    if (!line.empty() && !line.starts_with("#")) out.push_back(line);
  }
  return out;
}

}  // namespace davit::cli
