#include "cri/runtime_service.h"

#include "base/time.h"
#include "base/version.h"
#include "cri/check_requests.h"
#include "cri/convert.h"
#include "cri/reactors.h"
#include "cri/verbose_info.h"

namespace davit::cri {
namespace {

void AddCondition(v1::RuntimeStatus* status, const char* type, bool good, const std::string& reason,
                  const std::string& message) {
  v1::RuntimeCondition* condition = status->add_conditions();
  condition->set_type(type);
  condition->set_status(good);
  condition->set_reason(reason);
  condition->set_message(message);
}

}  // namespace

RuntimeService::Reactor* RuntimeService::Version(Context* context, const v1::VersionRequest*,
                                                 v1::VersionResponse* response) {
  response->set_version("0.1.0");  // of the kubelet's API, as every runtime answers
  response->set_runtime_name("davit");
  response->set_runtime_version(kVersion);
  response->set_runtime_api_version("v1");
  return Answer(context, {});
}

RuntimeService::Reactor* RuntimeService::Status(Context* context, const v1::StatusRequest* request,
                                                v1::StatusResponse* response) {
  // Losses cost single objects: the node goes on, and says so where `crictl info` and the kubelet's log show it.
  const std::string losses = engine_.Losses();
  const davit::Status storage = engine_.StorageReadiness();
  AddCondition(response->mutable_status(), "RuntimeReady", storage.ok(),
               !storage.ok()    ? "StorageReadOnly"
               : losses.empty() ? ""
                                : "RecordsUnreadable",
               storage.ok() ? losses : storage.message());
  network::Readiness network = engine_.NetworkReadiness();
  AddCondition(response->mutable_status(), "NetworkReady", network.ready, network.reason, network.message);
  // Only told when it fails: a condition of its own, for the node's containers go on running.
  if (const davit::Status trust = engine_.TrustReadiness(); !trust.ok())
    AddCondition(response->mutable_status(), "SignaturePolicyReady", false, "SignaturePolicyUnreadable",
                 trust.message());
  for (const engine::HandlerInfo& info : engine_.Handlers()) {
    v1::RuntimeHandler* handler = response->add_runtime_handlers();
    handler->set_name(info.name);
    handler->mutable_features()->set_recursive_read_only_mounts(info.features.recursive_read_only_mounts);
    handler->mutable_features()->set_user_namespaces(info.features.user_namespaces);
    if (info.name == engine_.Configuration().runtime.default_handler) {
      // The kubelet asks for the default handler by the empty name.
      v1::RuntimeHandler* unnamed = response->add_runtime_handlers();
      *unnamed->mutable_features() = handler->features();
    }
  }
  response->mutable_features()->set_supplemental_groups_policy(true);
  response->mutable_features()->set_mount_options(true);
  if (const std::string preload = engine_.PreloadSummary(); request->verbose() && !preload.empty()) {
    (*response->mutable_info())["preload"] = PreloadInfo(preload);
  }
  if (request->verbose()) {
    (*response->mutable_info())["config"] = ConfigInfo(engine_.Configuration());
    (*response->mutable_info())["network"] = engine_.NetworkStatusJson();
  }
  return Answer(context, {});
}

RuntimeService::Reactor* RuntimeService::RuntimeConfig(Context* context, const v1::RuntimeConfigRequest*,
                                                       v1::RuntimeConfigResponse* response) {
  response->mutable_linux()->set_cgroup_driver(engine_.SystemdCgroups() ? v1::SYSTEMD : v1::CGROUPFS);
  return Answer(context, {});
}

RuntimeService::Reactor* RuntimeService::UpdateRuntimeConfig(Context* context, const v1::UpdateRuntimeConfigRequest*,
                                                             v1::UpdateRuntimeConfigResponse*) {
  // The pod CIDR concerns engines that render a CNI configuration from it; here the CNI plugin's own
  // configuration decides.
  return Answer(context, {});
}

// ---- Pods ----

RuntimeService::Reactor* RuntimeService::RunPodSandbox(Context* context, const v1::RunPodSandboxRequest* request,
                                                       v1::RunPodSandboxResponse* response) {
  if (!request->has_config()) return Answer(context, InvalidArgument("config is missing"));
  Result<pod::PodSpec> spec = ToPodSpec(request->config(), request->runtime_handler());
  if (!spec.ok()) return Answer(context, spec.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.RunPod(std::move(*spec),
                 FinishWith<PodId>(reactor, [response](const PodId& id) { response->set_pod_sandbox_id(id.str()); }));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::StopPodSandbox(Context* context, const v1::StopPodSandboxRequest* request,
                                                        v1::StopPodSandboxResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.StopPod(request->pod_sandbox_id(), FinishEmpty(reactor));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::RemovePodSandbox(Context* context, const v1::RemovePodSandboxRequest* request,
                                                          v1::RemovePodSandboxResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.RemovePod(request->pod_sandbox_id(), FinishEmpty(reactor));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::PodSandboxStatus(Context* context, const v1::PodSandboxStatusRequest* request,
                                                          v1::PodSandboxStatusResponse* response) {
  engine::SnapshotPtr view = engine_.View();
  Result<engine::PodPtr> pod = view->FindPod(request->pod_sandbox_id());
  if (!pod.ok()) return Answer(context, pod.status());
  *response->mutable_status() = ToPodSandboxStatus(**pod);
  response->set_timestamp(WallNanos());
  for (const engine::ContainerPtr& record : view->ContainersOf((*pod)->id)) {
    if (engine::Listed(*record)) *response->add_containers_statuses() = ToContainerStatus(*record);
  }
  if (request->verbose()) (*response->mutable_info())["info"] = PodInfo(**pod);
  return Answer(context, {});
}

// ---- Containers ----

RuntimeService::Reactor* RuntimeService::CreateContainer(Context* context, const v1::CreateContainerRequest* request,
                                                         v1::CreateContainerResponse* response) {
  if (!request->has_config()) return Answer(context, InvalidArgument("config is missing"));
  Result<container::ContainerSpec> spec = ToContainerSpec(request->config());
  if (!spec.ok()) return Answer(context, spec.status());
  Reactor* reactor = context->DefaultReactor();
  engine_.CreateContainer(
      request->pod_sandbox_id(), std::move(*spec),
      FinishWith<ContainerId>(reactor, [response](const ContainerId& id) { response->set_container_id(id.str()); }));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::StartContainer(Context* context, const v1::StartContainerRequest* request,
                                                        v1::StartContainerResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.StartContainer(request->container_id(), FinishEmpty(reactor));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::StopContainer(Context* context, const v1::StopContainerRequest* request,
                                                       v1::StopContainerResponse*) {
  if (request->timeout() < 0) {
    return Answer(context, InvalidArgument("timeout " + std::to_string(request->timeout()) + " is negative"));
  }
  Reactor* reactor = context->DefaultReactor();
  // A year is "for ever", and does not overflow a clock.
  std::chrono::seconds grace(std::min<int64_t>(request->timeout(), 31'536'000));
  engine_.StopContainer(request->container_id(), grace, FinishEmpty(reactor));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::RemoveContainer(Context* context, const v1::RemoveContainerRequest* request,
                                                         v1::RemoveContainerResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.RemoveContainer(request->container_id(), FinishEmpty(reactor));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::ContainerStatus(Context* context, const v1::ContainerStatusRequest* request,
                                                         v1::ContainerStatusResponse* response) {
  Result<engine::ContainerPtr> record = engine_.View().FindContainer(request->container_id());
  if (!record.ok()) return Answer(context, record.status());
  *response->mutable_status() = ToContainerStatus(**record);
  if (request->verbose()) {
    (*response->mutable_info())["info"] =
        ContainerInfo(**record, engine_.RuntimeSpecJson(**record).value_or(std::string("null")));
  }
  return Answer(context, {});
}

RuntimeService::Reactor* RuntimeService::ReopenContainerLog(Context* context,
                                                            const v1::ReopenContainerLogRequest* request,
                                                            v1::ReopenContainerLogResponse*) {
  Reactor* reactor = context->DefaultReactor();
  engine_.ReopenLog(request->container_id(), FinishEmpty(reactor));
  return reactor;
}

// ---- Exec, attach, port-forward ----

RuntimeService::Reactor* RuntimeService::ExecSync(Context* context, const v1::ExecSyncRequest* request,
                                                  v1::ExecSyncResponse* response) {
  if (::davit::Status good = CheckCommand(request->cmd()); !good.ok()) return Answer(context, good);
  if (request->timeout() < 0) {
    return Answer(context, InvalidArgument("timeout " + std::to_string(request->timeout()) + " is negative"));
  }
  Reactor* reactor = context->DefaultReactor();
  std::chrono::seconds timeout(std::min<int64_t>(request->timeout(), 31'536'000));
  engine_.ExecSync(request->container_id(), {request->cmd().begin(), request->cmd().end()}, timeout,
                   FinishWith<engine::ExecOutput>(reactor, [response](const engine::ExecOutput& output) {
                     response->set_stdout(output.out);
                     response->set_stderr(output.err);
                     response->set_exit_code(output.exit_code);
                   }));
  return reactor;
}

RuntimeService::Reactor* RuntimeService::Exec(Context* context, const v1::ExecRequest* request,
                                              v1::ExecResponse* response) {
  ::davit::Status good = CheckCommand(request->cmd());
  if (good.ok()) good = CheckStreams(request->tty(), request->stdin(), request->stdout(), request->stderr());
  if (!good.ok()) return Answer(context, good);
  Result<std::string> url = engine_.Exec(request->container_id(), {request->cmd().begin(), request->cmd().end()},
                                         request->tty(), request->stdin(), request->stdout(), request->stderr());
  if (url.ok()) response->set_url(*url);
  return Answer(context, url.status());
}

RuntimeService::Reactor* RuntimeService::Attach(Context* context, const v1::AttachRequest* request,
                                                v1::AttachResponse* response) {
  ::davit::Status good = CheckStreams(request->tty(), request->stdin(), request->stdout(), request->stderr());
  if (!good.ok()) return Answer(context, good);
  Result<std::string> url =
      engine_.Attach(request->container_id(), request->tty(), request->stdin(), request->stdout(), request->stderr());
  if (url.ok()) response->set_url(*url);
  return Answer(context, url.status());
}

RuntimeService::Reactor* RuntimeService::PortForward(Context* context, const v1::PortForwardRequest* request,
                                                     v1::PortForwardResponse* response) {
  Result<std::string> url =
      engine_.PortForward(request->pod_sandbox_id(), {request->port().begin(), request->port().end()});
  if (url.ok()) response->set_url(*url);
  return Answer(context, url.status());
}

}  // namespace davit::cri
