// State: what the runtime knows of a container, one directory below --root for each.
//
//   <root>/<id>/lock         fcntl(2): one verb at a time changes the container; reading takes no lock
//   <root>/<id>/state.json   the record, whole or absent
//   <root>/<id>/config.json  the specification as it was at the creation: the bundle's may change
//   <root>/<id>/start        socket where the process waits for its start
//
// Everything is recorded before it is made, and the record alone suffices to take everything away: a runtime that was
// killed at any step leaves nothing that `delete --force` does not find. A process is a pid and its start time; a pid
// alone is never trusted, for it may be another's by now.
//
// Source: OCI runtime-spec 1.3, runtime.md, "State". Not thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::native {

inline constexpr uint32_t kStateVersion = 1;

struct ProcessName {
  int64_t pid = 0;  // 0: none
  uint64_t start_time = 0;
};

enum class Phase { kCreating, kCreated, kStarted };

struct Record {
  uint32_t version = kStateVersion;
  std::string id;
  std::string bundle;   // absolute
  std::string rootfs;   // absolute
  std::string owner;    // name of the user who made it
  std::string created;  // RFC 3339
  std::string oci_version;
  std::map<std::string, std::string> annotations;
  Phase phase = Phase::kCreating;
  ProcessName process;    // the container's first
  ProcessName creator;    // of kCreating: who is at it
  std::string cgroup;     // path from the root of every hierarchy; empty: none of its own
  bool systemd = false;   // the cgroup is a scope, made by systemd
  std::string rdt_group;  // directory of resctrl that was made for it
};

enum class ContainerStatus { kCreating, kCreated, kRunning, kPaused, kStopped };
std::string_view StatusName(ContainerStatus status);

// The process by that name, or kNotFound when it has ended (a zombie has) or the pid is another's.
Result<sys::PidFd> FindProcess(const ProcessName& name);
Result<ProcessName> NameOf(pid_t pid);

// "a-z A-Z 0-9 _ + - .", at most 255 bytes, and no path. kInvalidArgument otherwise.
Status CheckContainerId(const std::string& id);

class ContainerState {
 public:
  // Makes the directory; kAlreadyExists when it is there. The lock is held.
  static Result<ContainerState> Create(const std::string& root, const std::string& id);
  // kNotFound "container ID does not exist". No lock.
  static Result<ContainerState> Open(const std::string& root, const std::string& id);
  // Ids below the root, sorted.
  static Result<std::vector<std::string>> List(const std::string& root);

  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] std::string StartSocket() const { return directory_ + "/start"; }

  // Waits until no other verb holds the container. kNotFound when it was deleted meanwhile.
  Status Lock();
  // kNotFound when there is none (its creation died at the first step).
  Result<Record> Load() const;
  Status Save(const Record& record) const;
  Status SaveConfig(std::string_view text) const;
  Result<std::string> LoadConfig() const;
  Status Remove() const;

 private:
  ContainerState(std::string directory, std::string id) : directory_(std::move(directory)), id_(std::move(id)) {}
  std::string directory_;
  std::string id_;
  sys::UniqueFd lock_;
};

// What is true now. `frozen`: the cgroup stands still (asked only of one that runs).
ContainerStatus StatusOf(const Record& record, bool frozen);

// The state document: of `state`, of hooks on stdin, and (with `list`) of `list`.
std::string StateJson(const Record& record, ContainerStatus status, int64_t pid);

}  // namespace davit::native
