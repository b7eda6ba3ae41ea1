// The flags of davit run, which create, pod create and update take parts of.
#pragma once

#include "cli/command_tree.h"

namespace davit::cli {

void AddRunFlags(CLI::App& command, RunOptions& options, bool run);
// Those that are the pod's: name, network, ports, hosts.
void AddPodFlags(CLI::App& command, RunOptions& options);
void AddLimitFlags(CLI::App& command, RunOptions& options);

}  // namespace davit::cli
