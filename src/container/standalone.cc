#include "container/standalone.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "base/log.h"
#include "base/strings.h"

namespace davit::container {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kMaxClientData = 1 << 20;
constexpr size_t kMaxVolumes = 1024;

constexpr std::array<std::pair<std::string_view, int>, 15> kLimits = {{{"core", RLIMIT_CORE},
                                                                       {"cpu", RLIMIT_CPU},
                                                                       {"data", RLIMIT_DATA},
                                                                       {"fsize", RLIMIT_FSIZE},
                                                                       {"locks", RLIMIT_LOCKS},
                                                                       {"memlock", RLIMIT_MEMLOCK},
                                                                       {"msgqueue", RLIMIT_MSGQUEUE},
                                                                       {"nice", RLIMIT_NICE},
                                                                       {"nofile", RLIMIT_NOFILE},
                                                                       {"nproc", RLIMIT_NPROC},
                                                                       {"rss", RLIMIT_RSS},
                                                                       {"rtprio", RLIMIT_RTPRIO},
                                                                       {"rttime", RLIMIT_RTTIME},
                                                                       {"sigpending", RLIMIT_SIGPENDING},
                                                                       {"stack", RLIMIT_STACK}}};

// "nofile", "RLIMIT_NOFILE".
const std::pair<std::string_view, int>* FindLimit(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name.starts_with("rlimit_")) name.erase(0, 7);
  auto it = std::find_if(kLimits.begin(), kLimits.end(), [&](const auto& known) { return known.first == name; });
  return it == kLimits.end() ? nullptr : &*it;
}

rlim_t ToLimit(int64_t value) { return value < 0 ? RLIM_INFINITY : static_cast<rlim_t>(value); }

Result<uint32_t> ParseUmask(const std::string& text) {
  uint32_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '7' || text.size() > 4) return InvalidArgument("umask \"" + Printable(text) + "\" is not octal");
    value = value * 8 + static_cast<uint32_t>(c - '0');
  }
  if (value > 0777) return InvalidArgument("umask \"" + Printable(text) + "\" is above 0777");
  return value;
}

Status ValidateHealth(const HealthCheck& health) {
  static constexpr std::array<std::string_view, 5> kActions = {"", "none", "kill", "restart", "stop"};
  if (health.test.size() < 2 || (health.test[0] != "CMD" && health.test[0] != "CMD-SHELL")) {
    return InvalidArgument("health.test is neither {\"CMD\", program, …} nor {\"CMD-SHELL\", line}");
  }
  for (int64_t time : {health.interval, health.timeout, health.start_period, health.start_interval}) {
    if (time < 0 || (time > 0 && time < 1'000'000)) return InvalidArgument("health: a time is below 1 ms");
  }
  if (std::find(kActions.begin(), kActions.end(), health.on_failure) == kActions.end()) {
    return InvalidArgument("health.on_failure \"" + Printable(health.on_failure) + "\" is not known");
  }
  return {};
}

}  // namespace

Status ValidateName(std::string_view name, std::string_view field) {
  auto alphanumeric = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  const bool good = !name.empty() && name.size() <= kMaxName && alphanumeric(name[0]) &&
                    std::all_of(name.begin(), name.end(),
                                [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
  if (good) return {};
  return InvalidArgument(std::string(field) + " \"" + Printable(name) +
                         "\": names match [a-zA-Z0-9][a-zA-Z0-9_.-]* and have at most 255 characters");
}

Status ValidateStandalone(const StandaloneSpec& spec) {
  static constexpr std::array<std::string_view, 5> kPolicies = {"", "no", "on-failure", "always", "unless-stopped"};
  if (std::find(kPolicies.begin(), kPolicies.end(), spec.restart.name) == kPolicies.end()) {
    return InvalidArgument("restart policy \"" + Printable(spec.restart.name) +
                           "\" is none of no, on-failure, always, unless-stopped");
  }
  if (spec.restart.maximum_retries > 0 && spec.restart.name != "on-failure") {
    return InvalidArgument("restart policy: a maximum number of retries goes with on-failure only");
  }
  if (spec.auto_remove && !spec.restart.name.empty() && spec.restart.name != "no") {
    return InvalidArgument("a restart policy and automatic removal exclude each other");
  }
  if (spec.health) RETURN_IF_ERROR(ValidateHealth(*spec.health));
  if (spec.client_data.size() > kMaxClientData) return InvalidArgument("client_data exceeds 1 MiB");
  if (spec.volumes.size() > kMaxVolumes) return InvalidArgument("volumes: more than 1024");
  for (const NamedVolume& volume : spec.volumes) {
    if (!volume.name.empty()) RETURN_IF_ERROR(ValidateName(volume.name, "volume name"));
    if (!volume.container_path.starts_with('/')) {
      return InvalidArgument("volume: path \"" + Printable(volume.container_path) + "\" is not absolute");
    }
  }
  RETURN_IF_ERROR(ParseUmask(spec.umask).status());
  for (const Ulimit& limit : spec.ulimits) {
    if (FindLimit(limit.name) == nullptr) {
      return InvalidArgument("ulimit \"" + Printable(limit.name) + "\" is not known");
    }
    if (ToLimit(limit.soft) > ToLimit(limit.hard)) {
      return InvalidArgument("ulimit " + Printable(limit.name) + ": the soft limit is above the hard one");
    }
  }
  return {};
}

Status ApplyStandalone(const StandaloneSpec& spec, oci::RuntimeSpec& out) {
  if (!spec.umask.empty()) {
    ASSIGN_OR_RETURN(out.process.user.umask, ParseUmask(spec.umask));
  }
  for (const Ulimit& limit : spec.ulimits) {
    const auto* known = FindLimit(limit.name);
    if (known == nullptr) return InvalidArgument("ulimit \"" + Printable(limit.name) + "\" is not known");
    struct rlimit own {};
    rlim_t soft = ToLimit(limit.soft);
    rlim_t hard = ToLimit(limit.hard);
    const bool read = ::getrlimit(static_cast<decltype(RLIMIT_CORE)>(known->second), &own) == 0;
    if (read && hard > own.rlim_max) {
      LogInfo("ulimit {} lowered to {}: this node allows no more", known->first, own.rlim_max);
      hard = own.rlim_max;
      soft = std::min(soft, hard);
    }
    std::string name = "RLIMIT_";
    for (char c : known->first) name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    out.process.rlimits.push_back({name, soft, hard});
  }
  return {};
}

}  // namespace davit::container
