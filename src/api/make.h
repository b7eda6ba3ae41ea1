// Making containers and pods from bodies of Podman's API, for calls that make several of them.
#pragma once

#include <string>

#include "base/result.h"

namespace davit::api {

class Api;

// The id of what was made.
Result<std::string> MakeLibpodContainer(Api& api, const std::string& body);
Result<std::string> MakeLibpodPod(Api& api, const std::string& body);
// Fetches it when it is not there, or (`always`) in any case.
Status EnsureImage(Api& api, const std::string& reference, bool always);

}  // namespace davit::api
