#include "base/rollback.h"

#include "base/log.h"

namespace davit {

Status Rollback::Run() {
  Status first;
  while (!steps_.empty()) {
    auto step = std::move(steps_.back());
    steps_.pop_back();
    Status status = step.second();
    if (status.ok()) continue;
    LogError("undo {}: {}", step.first, status.message());
    if (first.ok()) first = status.Annotate("undo " + step.first);
  }
  return first;
}

}  // namespace davit
