// PullSession: what davit-pull does from its first input line to its exit.
#pragma once

#include <string>

#include "base/status.h"

namespace davit::image {

// Reads a job and then commands from `in_fd`, writes events to `out_fd` (docs/formats/pull-protocol.md).
// When `in_fd` ends before the finish command, davitd is gone: the process exits at once, without
// returning, whatever its threads are doing; it has made nothing outside the directories it was given.
// An error has been sent as an event when this returns it.
Status RunPullSession(int in_fd, int out_fd);

}  // namespace davit::image
