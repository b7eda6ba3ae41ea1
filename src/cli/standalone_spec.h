// From the flags of `davit run` and `davit create` to the messages of StandaloneService. Reads the files that the flags
// name and, for -e NAME, the environment.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "davit/control/v1/standalone.pb.h"
#include "davit/control/v1/volumes.pb.h"

namespace davit::cli {

struct StandaloneSpec {
  control::v1::CreateContainerRequest request;
  // Made first; the container gets each by the name that the server chose.
  std::vector<std::pair<control::v1::CreateVolumeRequest, control::v1::NamedVolume>> new_volumes;
};

// kInvalidArgument naming the flag. `options.name` is not empty.
Result<StandaloneSpec> MakeStandaloneSpec(const RunOptions& options);

// What `davit update` takes as well. kInvalidArgument naming the flag.
Result<cri::LinuxContainerResources> ResourcesOf(const RunOptions& options);

// A name for what has none: "quiet_heron42".
std::string ChooseName();

// The first flag that only davitd can do, or "".
std::string FlagOfDavitd(const RunOptions& options);

}  // namespace davit::cli
