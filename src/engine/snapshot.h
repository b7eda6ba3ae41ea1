// Snapshot: all pods and containers at one instant, immutable. List, Status and stats read it and never
// wait for an operation (ARCHITECTURE.md, invariant 3).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/persistent_map.h"
#include "base/result.h"
#include "container/record.h"
#include "pod/record.h"

namespace davit::engine {

using PodPtr = std::shared_ptr<const pod::PodRecord>;
using ContainerPtr = std::shared_ptr<const container::ContainerRecord>;

// Copies share what they have in common: a copy and one change cost a microsecond, whatever the node holds.
class Snapshot {
 public:
  using Pods = PersistentMap<PodId, PodPtr>;
  using Containers = PersistentMap<ContainerId, ContainerPtr>;

  // By id.
  [[nodiscard]] const Pods& pods() const { return pods_; }
  [[nodiscard]] const Containers& containers() const { return containers_; }

  // Add, or replace what has the id. A container stays in its pod.
  void Put(PodPtr pod);
  void Put(ContainerPtr container);
  void Erase(const PodId& id);
  void Erase(const ContainerId& id);

  // By full id or a unique prefix of one. kNotFound naming the text, kInvalidArgument when the prefix
  // fits several. What is only being created is not there yet.
  Result<PodPtr> FindPod(std::string_view text) const;
  Result<ContainerPtr> FindContainer(std::string_view text) const;

  // As people name them: a full id, the name of a standalone one, or a beginning of an id that fits one only.
  // Standalone ones come first where a beginning fits others, too.
  [[nodiscard]] Result<PodPtr> FindNamedPod(std::string_view text) const;
  [[nodiscard]] Result<ContainerPtr> FindNamedContainer(std::string_view text) const;

  // By id.
  [[nodiscard]] std::vector<ContainerPtr> ContainersOf(const PodId& pod) const;

 private:
  using Group = std::shared_ptr<const std::vector<ContainerPtr>>;

  Pods pods_;
  Containers containers_;
  PersistentMap<PodId, Group> by_pod_;  // those in containers_, none of a pod without any
};

// A snapshot held. What lies in it is reached only through a variable: in `for (… : View()->pods())` the map would
// be gone, with the temporary, before the loop begins, as soon as somebody writes meanwhile.
class SnapshotPtr {
 public:
  explicit SnapshotPtr(std::shared_ptr<const Snapshot> snapshot) : snapshot_(std::move(snapshot)) {}

  const Snapshot* operator->() const& { return snapshot_.get(); }
  const Snapshot* operator->() const&& = delete;
  const Snapshot& operator*() const { return *snapshot_; }  // for a call: an argument lives until it returns

  // Snapshot's own, for temporaries too: what they return is held by itself.
  [[nodiscard]] Result<PodPtr> FindPod(std::string_view text) const { return snapshot_->FindPod(text); }
  [[nodiscard]] Result<ContainerPtr> FindContainer(std::string_view text) const {
    return snapshot_->FindContainer(text);
  }
  [[nodiscard]] Result<PodPtr> FindNamedPod(std::string_view text) const { return snapshot_->FindNamedPod(text); }
  [[nodiscard]] Result<ContainerPtr> FindNamedContainer(std::string_view text) const {
    return snapshot_->FindNamedContainer(text);
  }
  [[nodiscard]] std::vector<ContainerPtr> ContainersOf(const PodId& pod) const { return snapshot_->ContainersOf(pod); }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
};

inline bool IsStandalone(const pod::PodRecord& record) { return record.spec.standalone; }
inline bool IsStandalone(const container::ContainerRecord& record) { return record.spec.standalone.has_value(); }

// What clients may see: not the ones that are only being created.
bool Listed(const pod::PodRecord& record);
bool Listed(const container::ContainerRecord& record);

}  // namespace davit::engine
