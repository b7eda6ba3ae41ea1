// RunOptions: what `davit run` and `davit create` were asked for, as it was typed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace davit::cli {

inline constexpr char kRunLogs[] = "/var/log/davit";

struct RunOptions {
  std::string name;
  bool remove = false;
  bool interactive = false;
  bool terminal = false;
  bool detach = false;
  std::vector<std::string> env;
  std::vector<std::string> volumes;
  std::vector<std::string> ports;
  std::string workdir;
  std::string user;
  std::string handler;
  std::vector<std::string> networks;  // none: the default one
  std::vector<std::string> labels;
  std::string log_directory = kRunLogs;  // of another runtime than davitd
  std::string image;
  std::vector<std::string> command;

  // ---- Of davitd alone: another runtime is asked for none of these ----
  std::vector<std::string> env_files;
  std::vector<std::string> label_files;
  std::vector<std::string> annotations;
  std::vector<std::string> mounts;  // "type=bind,source=/a,target=/b,readonly"
  std::vector<std::string> tmpfs;   // "/path[:options]"
  bool publish_all = false;
  std::vector<std::string> aliases;
  std::string address;  // IPv4, on the first network
  std::string hostname;
  std::optional<std::string> entrypoint;
  std::string restart;
  std::string health_command;
  std::string health_interval;
  std::string health_timeout;
  std::string health_start_period;
  std::string health_on_failure;
  uint32_t health_retries = 0;
  bool no_health = false;
  std::string memory;
  std::string memory_swap;
  double cpus = 0;
  int64_t cpu_shares = 0;
  std::string cpuset_cpus;
  std::string cpuset_mems;
  int64_t pids_limit = 0;
  int64_t oom_score = 0;
  std::vector<std::string> capabilities;
  std::vector<std::string> dropped_capabilities;
  std::vector<std::string> security;
  std::vector<std::string> groups;
  std::vector<std::string> devices;
  std::vector<std::string> sysctls;
  bool privileged = false;
  bool read_only = false;
  bool init = false;
  std::string pid;  // "host"
  std::string ipc;
  std::string umask;
  std::string stop_signal;
  std::optional<int64_t> stop_timeout;
  std::string pod;
  std::vector<std::string> ulimits;
  std::vector<std::string> log_options;
  std::vector<std::string> hosts;
  std::vector<std::string> dns;
  std::vector<std::string> dns_search;
  std::vector<std::string> dns_options;
  std::string pull = "missing";
  std::string id_file;
};

}  // namespace davit::cli
