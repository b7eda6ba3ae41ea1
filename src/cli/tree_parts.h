// What the parts of the command tree share. Like command_tree.cc these know the flag library.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/command_tree.h"

namespace davit::cli {

using Ids = std::vector<std::string>;

// The words after the flags: an object, then a command that keeps its own flags.
Ids Words(const CLI::App& command);

CLI::App& Command(CLI::App& parent, const std::string& name, const std::string& help, const std::string& example);
CLI::App& Group(CLI::App& app, const std::string& name, const std::string& help);

// From the first word that is no flag on, everything is the command's. Flags of davit itself then have to
// come before: falling through to the parent would take the words apart.
void KeepWords(CLI::App& command, const char* words);

// A flag that may be given several times, with one value each time.
CLI::Option& AddList(CLI::App& command, const char* flag, Ids& to, const char* help);

// The words of a command that are names: of containers, volumes, …
std::shared_ptr<Ids> AddNames(CLI::App& command, const char* what, bool required = true);

}  // namespace davit::cli
