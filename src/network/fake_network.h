// FakeNetwork: a Network for tests of the folders above. It keeps state, can be told to fail, and
// passes the same contract suite as CniNetwork (network_contract.h).
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "network/network.h"

namespace davit::network {

class FakeNetwork final : public Network {
 public:
  Result<Attachment> Plan(const NetworkRequest& request) override;
  Result<Attachment> Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) override;
  Status Detach(const NetworkRequest& request, const Attachment& attachment, Deadline deadline) override;
  [[nodiscard]] Readiness Ready() const override;
  [[nodiscard]] std::string StatusJson() const override;

  // Set before the calls that they concern; not guarded.
  std::optional<Status> fail_plan;
  std::optional<Status> fail_attach;
  std::optional<Status> fail_detach;
  std::optional<Readiness> readiness;  // nullopt: ready

  // Pods attached now, with their address, and how often each verb ran.
  [[nodiscard]] std::map<PodId, std::string> attached() const;
  [[nodiscard]] int attach_calls() const;
  [[nodiscard]] int detach_calls() const;

 private:
  mutable std::mutex mutex_;
  std::map<PodId, std::string> attached_;
  int next_host_ = 2;
  int attach_calls_ = 0;
  int detach_calls_ = 0;
};

}  // namespace davit::network
