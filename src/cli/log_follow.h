// Copies a container's log to standard output and error while the container runs.
#pragma once

#include <functional>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "client/log_reader.h"

namespace davit::cli {

// The exit code of a container that has ended, or nullopt while it has not.
Result<std::optional<int>> ExitCodeOf(const Context& context, const std::string& id);

class LogFollower {
 public:
  LogFollower(client::LogFile file, bool timestamps, std::string since = "", std::string until = "")
      : file_(std::move(file)), decoder_(timestamps, std::move(since), std::move(until)) {}

  // What is there now.
  Status Drain();
  // The unfinished rest.
  Status Finish();

  // Until the container has ended and its log is copied whole: its exit code. nullopt when it was removed.
  // `on_signal` gets each signal that comes. Looks at the file every 100 ms and asks
  // the server every 500 ms: CRI's events are optional for runtimes.
  Result<std::optional<int>> Follow(const Context& context, const std::string& id,
                                    const std::function<void(int)>& on_signal);

 private:
  client::LogFile file_;
  client::LogDecoder decoder_;
};

}  // namespace davit::cli
