// The process object of an exec: the container's own (user, environment, capabilities, working
// directory) with another command, and what the client wants to be different.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "container/users.h"

namespace davit::container {

// Empty: as the container's own process.
struct ProcessChange {
  std::string user;               // "name|uid[:group|gid]"
  std::vector<std::string> envs;  // "KEY=value"
  std::string working_dir;
  bool privileged = false;
};

struct ExecProcess {
  std::vector<std::string> command;
  bool terminal = false;
  const ProcessChange* change = nullptr;             // the caller's, for the call
  const User* user = nullptr;                        // of change->user, as resolved; nullptr: the container's
  std::vector<std::string> privileged_capabilities;  // what a privileged one gets: the node's
};

// `process_file` is the bundle's process.json. kInvalidArgument for an empty command, a variable without a name, a
// relative working directory.
Result<std::string> ExecProcessJson(const std::string& process_file, const ExecProcess& process);

}  // namespace davit::container
