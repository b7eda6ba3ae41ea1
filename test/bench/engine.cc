#include "engine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/ids.h"
#include "runtime/v1/cri.pb.h"
#include "sys/atomic_file.h"

namespace davit::bench {

namespace cri = ::runtime::v1;

Result<std::unique_ptr<Engine>> Engine::Connect(const std::string& endpoint, const std::string& tag, pid_t daemon) {
  ASSIGN_OR_RETURN(std::unique_ptr<client::Client> client, client::Client::Make(endpoint, client::kNoTimeout));
  ASSIGN_OR_RETURN(cri::VersionResponse version, client->Call(cri::VersionRequest()));
  return std::unique_ptr<Engine>(
      new Engine(std::move(client), version.runtime_name() + tag, version.runtime_version(), daemon));
}

Engine::Engine(std::unique_ptr<client::Client> client, std::string name, std::string version, pid_t daemon)
    : client_(std::move(client)),
      name_(std::move(name)),
      version_(std::move(version)),
      daemon_(daemon),
      logs_(fmt::format("/tmp/davit-bench-{}-{}", ::getpid(), MintId().substr(0, 8))) {}

Engine::~Engine() {
  for (const std::string& id : std::vector<std::string>(alive_)) {
    Pod pod;
    pod.id = id;
    IgnoreError(StopPod(pod));
    Status removed = RemovePod(pod);
    if (!removed.ok()) fmt::print(stderr, "davit-bench: pod {} of {} is left: {}\n", id, name_, removed.message());
  }
  IgnoreError(sys::RemoveTree(logs_));
}

Status Engine::EnsureImage(const std::string& image) {
  cri::ImageStatusRequest status;
  status.mutable_image()->set_image(image);
  ASSIGN_OR_RETURN(cri::ImageStatusResponse response, client_->Call(status));
  if (response.has_image()) return {};
  cri::PullImageRequest pull;
  pull.mutable_image()->set_image(image);
  return client_->Call(pull).status();
}

Result<Pod> Engine::RunPod(const std::string& handler) {
  std::string name = fmt::format("bench-{}-{}", MintId().substr(0, 8), pods_++);
  cri::RunPodSandboxRequest request;
  request.set_runtime_handler(handler);
  cri::PodSandboxConfig& config = *request.mutable_config();
  config.mutable_metadata()->set_name(name);
  config.mutable_metadata()->set_uid(MintId().substr(0, 32));
  config.mutable_metadata()->set_namespace_("bench");
  config.set_hostname(name);
  config.set_log_directory(logs_ + "/" + name);
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(cri::CONTAINER);
  ASSIGN_OR_RETURN(cri::RunPodSandboxResponse response, client_->Call(request));
  alive_.push_back(response.pod_sandbox_id());
  return Pod{response.pod_sandbox_id(), {}, config.SerializeAsString()};
}

Result<std::string> Engine::Create(Pod& pod, const std::string& image) {
  cri::CreateContainerRequest request;
  request.set_pod_sandbox_id(pod.id);
  if (!request.mutable_sandbox_config()->ParseFromString(pod.config)) return Internal("pod configuration");
  cri::ContainerConfig& config = *request.mutable_config();
  std::string name = fmt::format("c{}", pod.containers.size());
  config.mutable_metadata()->set_name(name);
  config.mutable_image()->set_image(image);
  for (const char* word : {"sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"}) config.add_command(word);
  config.set_log_path(name + ".log");
  config.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(cri::CONTAINER);
  ASSIGN_OR_RETURN(cri::CreateContainerResponse response, client_->Call(request));
  pod.containers.push_back(response.container_id());
  return response.container_id();
}

Status Engine::Start(const std::string& container) {
  cri::StartContainerRequest request;
  request.set_container_id(container);
  return client_->Call(request).status();
}

Result<int> Engine::ExecTrue(const std::string& container) {
  cri::ExecSyncRequest request;
  request.set_container_id(container);
  request.add_cmd("true");
  request.set_timeout(30);
  ASSIGN_OR_RETURN(cri::ExecSyncResponse response, client_->Call(request));
  return response.exit_code();
}

Status Engine::Stop(const std::string& container) {
  cri::StopContainerRequest request;
  request.set_container_id(container);
  request.set_timeout(10);
  return client_->Call(request).status();
}

Status Engine::StopPod(const Pod& pod) {
  cri::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(pod.id);
  return client_->Call(request).status();
}

Status Engine::RemovePod(const Pod& pod) {
  cri::RemovePodSandboxRequest request;
  request.set_pod_sandbox_id(pod.id);
  RETURN_IF_ERROR(client_->Call(request).status());
  std::erase(alive_, pod.id);
  return {};
}

}  // namespace davit::bench
