// Process: who runs what in a container, the `process` of config.json and the whole of `exec --process`.
//
// Source: OCI runtime-spec 1.3.0, config.md, "Process". Plain values, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace davit::oci {

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
};

// The five sets of capabilities(7), names with "CAP_". inheritable and ambient stay empty unless
// asked for (CVE-2022-24769).
struct CapabilitySets {
  std::vector<std::string> bounding;
  std::vector<std::string> effective;
  std::vector<std::string> inheritable;
  std::vector<std::string> permitted;
  std::vector<std::string> ambient;
};

struct Rlimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct ConsoleSize {
  uint32_t width = 0;   // columns
  uint32_t height = 0;  // rows
};

// sched_setattr(2). Names are the kernel's: "SCHED_FIFO", "SCHED_FLAG_RESET_ON_FORK".
struct Scheduler {
  std::string policy;
  int32_t nice = 0;      // SCHED_OTHER, SCHED_BATCH
  int32_t priority = 0;  // SCHED_FIFO, SCHED_RR
  uint64_t runtime = 0;  // SCHED_DEADLINE: nanoseconds, as the next two
  uint64_t deadline = 0;
  uint64_t period = 0;
  std::vector<std::string> flags;
};

// ioprio_set(2).
struct IoPriority {
  std::string io_class;  // "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"
  int32_t priority = 0;  // 0, the first, to 7
};

// Of exec only (1.2): CPU lists ("0-3,7"). Empty: as it comes.
struct ExecCpuAffinity {
  std::string initial;  // before the process is in the container's cgroup
  std::string final_;   // after that
};

struct Process {
  bool terminal = false;
  std::optional<ConsoleSize> console_size;
  User user;
  std::vector<std::string> args;
  std::vector<std::string> env;                // "K=V"
  std::string cwd = "/";                       // absolute
  std::optional<CapabilitySets> capabilities;  // nullopt: left out, and the runtime decides: always set it
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::optional<int32_t> oom_score_adj;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<Scheduler> scheduler = {};
  std::optional<IoPriority> io_priority = {};
  std::optional<ExecCpuAffinity> exec_cpu_affinity = {};
};

std::string ToJson(const Process& process);  // compact; for `exec --process`

}  // namespace davit::oci
