// The little languages of single flags: sizes, durations, ports, mounts. Each names the flag and the text in its error,
// which is kInvalidArgument.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace runtime::v1 {
class LinuxContainerSecurityContext;
class PortMapping;
}  // namespace runtime::v1

namespace davit::control::v1 {
class HealthCheck;
class RestartPolicy;
class Ulimit;
}  // namespace davit::control::v1

namespace davit::cli {

// "256m", "1.5g", "512MiB" or bytes; units count by 1024. "-1" where `unlimited` allows it.
Result<int64_t> ParseBytes(const std::string& text, std::string_view flag, bool unlimited = false);

// "1m30s", "500ms", "2h", or seconds without a unit; nanoseconds.
Result<int64_t> ParseDuration(const std::string& text, std::string_view flag);

// A moment: RFC 3339 (a date alone, or without a zone, is UTC), seconds since the epoch, or a duration before `now`.
// Nanoseconds since the epoch.
Result<int64_t> ParseMoment(const std::string& text, std::string_view flag, int64_t now_nanos);

// "[ADDRESS:][HOST]:CONTAINER[/tcp|udp|sctp]" or "CONTAINER"; HOST and CONTAINER may be ranges. A host port of 0 is one
// that the server chooses.
Result<std::vector<runtime::v1::PortMapping>> ParsePublish(const std::string& text);

Result<control::v1::RestartPolicy> ParseRestart(const std::string& text);
// "nofile=1024[:2048]"; -1 for no limit.
Result<control::v1::Ulimit> ParseUlimit(const std::string& text);

struct MountWords {
  std::string type;  // "bind", "volume", "tmpfs"
  std::string source;
  std::string target;
  bool readonly = false;
  bool no_copy = false;
  bool relabel = false;
  std::string propagation;
  std::string sub_path;
  std::string tmpfs_options;
};
// Of -v: "[SOURCE:]TARGET[:OPTIONS]".
Result<MountWords> ParseVolumeFlag(const std::string& text);
// Of --mount: "type=…,source=…,target=…".
Result<MountWords> ParseMountFlag(const std::string& text);
// Of --tmpfs: "TARGET[:OPTIONS]".
Result<MountWords> ParseTmpfsFlag(const std::string& text);

// "user[:group]", names or numbers; the group a number.
Status AddUser(const std::string& user, runtime::v1::LinuxContainerSecurityContext& context);

// Lines "KEY=VALUE" and "KEY", which takes the value from the environment; # begins a comment. At most 1 MiB.
Result<std::vector<std::string>> ReadPairsFile(const std::string& path);

}  // namespace davit::cli
