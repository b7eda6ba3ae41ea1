// The verbs of davit-oci: what the command line says as values, and one function for each.
//
// A function's Status is the verb's outcome; those of programs that run in the foreground give the program's exit code.
// The caller is single-threaded throughout (native/container.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "oci/runtime_resources.h"

namespace davit::oci_cli {

struct Globals {
  std::string root = "/run/davit-oci";
  std::string log;  // file; empty: stderr
  std::string log_format = "text";
  bool debug = false;
  bool systemd_cgroup = false;
};

struct StartOptions {
  std::string id;
  std::string console_socket;
  std::string pid_file;
  int preserve_fds = 0;
  bool detach = false;
  bool no_new_keyring = false;
};

struct CreateOptions : StartOptions {
  std::string bundle = ".";
  bool no_pivot = false;
  bool keep = false;  // run: the container stays when its process has ended
};

struct ExecOptions : StartOptions {
  std::string process;  // file; empty: what follows, over the container's own process
  std::vector<std::string> args;
  bool tty = false;
  std::string cwd;
  std::vector<std::string> env;
  std::string user;  // "uid[:gid]"
  std::vector<uint32_t> additional_gids;
  std::vector<std::string> caps;
  std::string apparmor;
  std::string process_label;
  bool no_new_privs = false;
  bool ignore_paused = false;
  std::vector<std::string> cgroups;  // "path" below the container's cgroup, or "controller[,controller]:path"
};

struct UpdateOptions {
  std::string id;
  std::string file;  // "-": stdin
  oci::Resources changes;
  std::optional<std::string> l3_cache_schema;
  std::optional<std::string> mem_bw_schema;
};

struct KillOptions {
  std::string id;
  std::string signal = "SIGTERM";
  bool all = false;
};

struct ListOptions {
  std::string format = "table";
  bool quiet = false;
};

struct PsOptions {
  std::string id;
  std::string format = "table";
  std::vector<std::string> arguments;  // of ps(1)
};

struct EventsOptions {
  std::string id;
  bool once = false;
  std::string interval = "5s";
};

Status Create(const Globals& globals, const CreateOptions& options);
Result<int> Run(const Globals& globals, const CreateOptions& options);
Status StartContainer(const Globals& globals, const std::string& id);
Status Kill(const Globals& globals, const KillOptions& options);
Status Delete(const Globals& globals, const std::string& id, bool force);
Status Pause(const Globals& globals, const std::string& id);
Status Resume(const Globals& globals, const std::string& id);
Result<int> Exec(const Globals& globals, const ExecOptions& options);
Status Update(const Globals& globals, const UpdateOptions& options);
Status PrintState(const Globals& globals, const std::string& id);
Status List(const Globals& globals, const ListOptions& options);
Status Ps(const Globals& globals, const PsOptions& options);
Status Events(const Globals& globals, const EventsOptions& options);
Status PrintFeatures();
Status WriteSpec(const std::string& bundle, bool rootless);

}  // namespace davit::oci_cli
