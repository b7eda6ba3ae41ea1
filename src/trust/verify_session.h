// What `davit-pull --verify` does: one job on the first descriptor, one event with the verdict on the second.
#pragma once

#include "base/status.h"

namespace davit::trust {

Status RunVerifySession(int in_fd, int out_fd);

}  // namespace davit::trust
