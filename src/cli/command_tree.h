// Which commands there are and which flags they take. The only header that knows the flag library.
#pragma once

#include <functional>
#include <string>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace davit::cli {

struct Globals {
  std::string endpoint;
  double timeout_seconds = 0;
  std::string output = "table";
  bool no_trunc = false;
};

// What the command line asks for.
struct Invocation {
  std::function<Result<int>(const Context&)> action;
  std::string usage_error;     // found after parsing
  bool is_run = false;         // 125 for errors beside the container
  bool takes_signals = false;  // SIGINT and SIGTERM are the command's, as in every run
};

// `invocation` outlives `app`.
void AddCommands(CLI::App& app, Invocation& invocation);

}  // namespace davit::cli
