// The everyday verbs in the command tree (everyday.h).
#pragma once

#include "cli/command_tree.h"

namespace davit::cli {

void AddContainerVerbs(CLI::App& app, Invocation& to);
void AddImageVerbs(CLI::App& app, Invocation& to);
// volume, network, system.
void AddObjectVerbs(CLI::App& app, Invocation& to);
void AddStandalonePodVerbs(CLI::App& pod, Invocation& to);
void AddDiskFree(CLI::App& parent, Invocation& to, const char* name);

}  // namespace davit::cli
