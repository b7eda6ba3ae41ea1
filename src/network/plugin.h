// Running CNI plugins: finding a trustworthy file, executing one command, and the chain of a
// configuration list.
//
// Source: CNI specification, sections 2 "Execution protocol" and 3 "Execution of network
// configurations".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "network/config.h"

namespace davit::network {

// The plugin's file in the first of `bin_dirs` that has one of this name. kFailedPrecondition naming
// the plugin and the directories when there is none, or naming the file when it is not a regular
// executable file of `owner` that nobody else can write.
Result<std::string> FindPlugin(const std::string& type, const std::vector<std::string>& bin_dirs, unsigned owner);

// What is the same for all plugins of one pod.
struct PluginContext {
  std::vector<std::string> bin_dirs;
  unsigned plugin_owner = 0;
  std::string container_id;
  std::string netns_path;  // empty: gone (DEL only)
  std::string interface;
  std::string args;                                    // CNI_ARGS
  std::map<std::string, std::string> capability_args;  // capability -> JSON text
};

// Whether a namespace is pinned at `path` (an nsfs mount, and not only the file that a reboot or a
// half-done removal left behind).
bool NetnsPinned(const std::string& path);

// ADD of every plugin in order, each with the result of the one before; returns the last result, in
// the shape of the configuration's version. All plugins are looked up before the first runs. When one
// fails, DEL of all of them in reverse order, for which there are at least ten more seconds after the
// deadline; the first plugin's error stays the cause.
Result<std::string> AddNetwork(const NetworkConfig& config, const PluginContext& context, Deadline deadline);

// DEL of every plugin in reverse order with the cached result, past failures; returns the first one.
// "Container unknown" counts as done.
Status DelNetwork(const NetworkConfig& config, const PluginContext& context, const std::string& cached_result,
                  Deadline deadline);

}  // namespace davit::network
