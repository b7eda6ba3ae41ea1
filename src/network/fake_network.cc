#include "network/fake_network.h"

#include "network/request.h"

namespace davit::network {

Result<Attachment> FakeNetwork::Plan(const NetworkRequest& request) {
  if (fail_plan) return *fail_plan;
  Readiness now = Ready();
  if (!now.ready) return FailedPrecondition(now.message);
  if (request.pod.empty()) return InvalidArgument("network request without a pod id");
  Attachment planned;
  ASSIGN_OR_RETURN(planned.ports, HostPorts(request.ports));
  ASSIGN_OR_RETURN([[maybe_unused]] std::string args, CniArgs(request));
  planned.config = R"({"cniVersion":"1.0.0","name":"fake","plugins":[{"type":"fake"}]})";
  return planned;
}

Result<Attachment> FakeNetwork::Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) {
  std::lock_guard lock(mutex_);
  ++attach_calls_;
  if (fail_attach) return *fail_attach;
  if (deadline.expired()) return DeadlineExceeded("attach network fake");
  if (planned.empty()) return InvalidArgument("planned network: empty");
  std::string ip = "10.88.0." + std::to_string(next_host_++);
  attached_[request.pod] = ip;
  planned.ips = {ip};
  planned.result = R"({"cniVersion":"1.0.0","ips":[{"address":")" + ip + R"(/16"}]})";
  return planned;
}

Status FakeNetwork::Detach(const NetworkRequest& request, const Attachment& attachment, Deadline) {
  std::lock_guard lock(mutex_);
  ++detach_calls_;
  if (fail_detach) return *fail_detach;
  if (!attachment.empty()) attached_.erase(request.pod);
  return {};
}

Readiness FakeNetwork::Ready() const { return readiness.value_or(Readiness{true, "", ""}); }

std::string FakeNetwork::StatusJson() const { return R"({"ready":true})"; }

std::map<PodId, std::string> FakeNetwork::attached() const {
  std::lock_guard lock(mutex_);
  return attached_;
}

int FakeNetwork::attach_calls() const {
  std::lock_guard lock(mutex_);
  return attach_calls_;
}

int FakeNetwork::detach_calls() const {
  std::lock_guard lock(mutex_);
  return detach_calls_;
}

}  // namespace davit::network
