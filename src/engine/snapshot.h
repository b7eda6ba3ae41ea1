// Snapshot: all pods and containers at one instant, immutable. List, Status and stats read it and never
// wait for an operation (ARCHITECTURE.md, invariant 3).
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "container/record.h"
#include "pod/record.h"

namespace davit::engine {

using PodPtr = std::shared_ptr<const pod::PodRecord>;
using ContainerPtr = std::shared_ptr<const container::ContainerRecord>;

struct Snapshot {
  std::map<PodId, PodPtr> pods;
  std::map<ContainerId, ContainerPtr> containers;

  // By full id or a unique prefix of one. kNotFound naming the text, kInvalidArgument when the prefix
  // fits several. What is only being created is not there yet.
  Result<PodPtr> FindPod(std::string_view text) const;
  Result<ContainerPtr> FindContainer(std::string_view text) const;

  [[nodiscard]] std::vector<ContainerPtr> ContainersOf(const PodId& pod) const;
};

// What clients may see: not the ones that are only being created.
bool Listed(const pod::PodRecord& record);
bool Listed(const container::ContainerRecord& record);

}  // namespace davit::engine
