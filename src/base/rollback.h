// Rollback: named undo steps of a multi-step operation, run in reverse order unless it commits.
//
//   Rollback undo;
//   ASSIGN_OR_RETURN(Netns netns, Netns::Create(id));
//   undo.Add("netns", [&] { return netns.Remove(); });
//   ...
//   undo.Commit();
//
// The steps run in the destructor; a step that fails is logged with its name and never replaces the
// cause. For effects that must survive SIGKILL the record of intent comes first (ARCHITECTURE.md,
// invariant 1): this class covers errors, recovery covers death.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace davit {

class Rollback {
 public:
  Rollback() = default;
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() { IgnoreError(Run()); }  // Run has logged what failed

  void Add(std::string name, std::function<Status()> undo) { steps_.emplace_back(std::move(name), std::move(undo)); }
  void Commit() { steps_.clear(); }

  // Runs and forgets all steps, last first; returns the first failure with the step's name.
  Status Run();

 private:
  std::vector<std::pair<std::string, std::function<Status()>>> steps_;
};

}  // namespace davit
