// Where davitd's log lines go: stderr, through spdlog.
#pragma once

#include "base/log.h"

namespace davit::cmd {

void StartLogging(LogLevel level);

}  // namespace davit::cmd
