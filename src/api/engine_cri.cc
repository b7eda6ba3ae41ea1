// The model of Engine from CRI alone.
#include <fmt/format.h>

#include "api/engine.h"
#include "api/error.h"
#include "base/strings.h"
#include "base/time.h"
#include "client/client.h"
#include "oci/json.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

control::StandaloneState StateOf(int state) {
  switch (state) {
    case cri::CONTAINER_CREATED:
      return control::STATE_CREATED;
    case cri::CONTAINER_RUNNING:
      return control::STATE_RUNNING;
    case cri::CONTAINER_EXITED:
      return control::STATE_EXITED;
    default:
      return control::STATE_DEAD;
  }
}

control::Pod PodOf(const cri::PodSandbox& sandbox) {
  control::Pod pod;
  pod.set_id(sandbox.id());
  pod.set_ready(sandbox.state() == cri::SANDBOX_READY);
  pod.set_started_once(true);
  pod.set_created_at(sandbox.created_at());
  pod.set_runtime_handler(sandbox.runtime_handler());
  *pod.mutable_config()->mutable_metadata() = sandbox.metadata();
  *pod.mutable_config()->mutable_labels() = sandbox.labels();
  *pod.mutable_config()->mutable_annotations() = sandbox.annotations();
  auto ours = sandbox.annotations().find(kNameAnnotation);
  pod.set_standalone(ours != sandbox.annotations().end());
  pod.set_implicit(pod.standalone() && sandbox.annotations().count(kDataAnnotation) == 0);
  pod.set_name(pod.standalone() ? ours->second
                                : fmt::format("{}_{}", sandbox.metadata().name(), sandbox.metadata().namespace_()));
  if (!pod.standalone()) pod.set_name(sandbox.metadata().name());
  pod.set_hostname(sandbox.metadata().name());
  return pod;
}

void FillStatus(control::Container& to, const cri::ContainerStatus& status) {
  to.set_started_at(status.started_at());
  to.set_finished_at(status.finished_at());
  to.set_exit_code(status.exit_code());
  to.set_oom_killed(status.reason() == "OOMKilled");
  to.set_error(status.exit_code() == 128 ? status.message() : "");
  to.set_log_path(status.log_path());
}

// The strings of an array of the runtime's own configuration.
std::vector<std::string> Words(const oci::JsonNode& node) {
  Result<std::vector<std::string>> words = node.Strings();
  return words.ok() ? *words : std::vector<std::string>();
}

// containerd's, CRI-O's and davitd's verbose information all have the pid and the runtime's configuration.
void FillInfo(control::Container& to, const std::string& text) {
  Result<boost::json::value> info = oci::ParseJson(text);
  if (!info.ok()) return;
  oci::JsonNode root(*info, "info");
  to.set_pid(root.Key("pid").Int64Or(0).value_or(0));
  oci::JsonNode process = root.Key("runtimeSpec").Key("process");
  to.mutable_config()->set_tty(process.Key("terminal").BoolOr(false).value_or(false));
  for (const std::string& word : Words(process.Key("args"))) to.add_command_line(word);
  for (const std::string& pair : Words(process.Key("env"))) {
    cri::KeyValue* env = to.mutable_config()->add_envs();
    env->set_key(pair.substr(0, pair.find('=')));
    env->set_value(pair.find('=') == std::string::npos ? "" : pair.substr(pair.find('=') + 1));
  }
  to.mutable_config()->set_working_dir(process.Key("cwd").StringOr("").value_or(""));
  to.set_user_id(static_cast<uint32_t>(process.Key("user").Key("uid").Int64Or(0).value_or(0)));
  oci::JsonNode cgroup = root.Key("runtimeSpec").Key("linux").Key("cgroupsPath");
  to.set_cgroup(root.Key("cgroup").StringOr(cgroup.StringOr("").value_or("")).value_or(""));
  // What containerd was asked for.
  oci::JsonNode config = root.Key("config");
  if (config.is_object()) to.mutable_config()->set_stdin(config.Key("stdin").BoolOr(false).value_or(false));
}

}  // namespace

Result<std::vector<control::Pod>> Engine::CriPods() {
  ASSIGN_OR_RETURN(cri::ListPodSandboxResponse response, client_.Call(cri::ListPodSandboxRequest()));
  std::vector<control::Pod> pods;
  for (const cri::PodSandbox& sandbox : response.items()) {
    control::Pod pod = PodOf(sandbox);
    if (!pod.implicit()) pods.push_back(std::move(pod));
  }
  return pods;
}

Result<std::vector<Entry>> Engine::CriContainers(bool full) {
  ASSIGN_OR_RETURN(cri::ListContainersResponse response, client_.Call(cri::ListContainersRequest()));
  ASSIGN_OR_RETURN(cri::ListPodSandboxResponse sandboxes, client_.Call(cri::ListPodSandboxRequest()));
  std::map<std::string, control::Pod> pods;
  for (const cri::PodSandbox& sandbox : sandboxes.items()) pods[sandbox.id()] = PodOf(sandbox);
  std::vector<Entry> entries;
  std::map<std::string, Known> known;
  {
    std::lock_guard lock(mutex_);
    known.swap(known_);
  }
  std::map<std::string, Known> next;
  for (const cri::Container& listed : response.containers()) {
    Entry entry;
    control::Container& container = entry.container;
    container.set_id(listed.id());
    container.set_pod_id(listed.pod_sandbox_id());
    container.set_state(StateOf(listed.state()));
    container.set_created_at(listed.created_at());
    container.set_image(listed.image().user_specified_image().empty() ? listed.image().image()
                                                                      : listed.image().user_specified_image());
    container.set_image_ref(listed.image_ref());
    container.set_image_id(listed.image_id().empty() ? listed.image_ref() : listed.image_id());
    *container.mutable_config()->mutable_metadata() = listed.metadata();
    *container.mutable_config()->mutable_labels() = listed.labels();
    *container.mutable_config()->mutable_annotations() = listed.annotations();
    if (auto pod = pods.find(listed.pod_sandbox_id()); pod != pods.end()) entry.pod = pod->second;
    auto ours = listed.annotations().find(kNameAnnotation);
    container.set_standalone(ours != listed.annotations().end());
    container.set_name(container.standalone() ? ours->second : listed.metadata().name());
    if (auto data = listed.annotations().find(kDataAnnotation); data != listed.annotations().end()) {
      container.mutable_options()->set_client_data(data->second);
    }
    const cri::PodSandboxMetadata& pod = entry.pod.config().metadata();
    entry.name = container.standalone() ? container.name()
                                        : fmt::format("k8s_{}_{}_{}_{}_{}", listed.metadata().name(), pod.name(),
                                                      pod.namespace_(), pod.uid(), listed.metadata().attempt());
    auto before = known.find(listed.id());
    if (before != known.end() && before->second.state == listed.state() && !full) {
      const control::Container& had = before->second.container;
      container.set_started_at(had.started_at());
      container.set_finished_at(had.finished_at());
      container.set_exit_code(had.exit_code());
      container.set_oom_killed(had.oom_killed());
      container.set_error(had.error());
      container.set_log_path(had.log_path());
      next[listed.id()] = before->second;
    } else {
      // One that went meanwhile stays as the list had it.
      IgnoreError(FillFromStatus(entry, full));
      control::Container kept;
      kept.set_started_at(container.started_at());
      kept.set_finished_at(container.finished_at());
      kept.set_exit_code(container.exit_code());
      kept.set_oom_killed(container.oom_killed());
      kept.set_error(container.error());
      kept.set_log_path(container.log_path());
      next[listed.id()] = Known{listed.state(), std::move(kept)};
    }
    entries.push_back(std::move(entry));
  }
  {
    std::lock_guard lock(mutex_);
    known_ = std::move(next);
  }
  return entries;
}

Status Engine::FillFromStatus(Entry& entry, bool full) {
  cri::ContainerStatusRequest request;
  request.set_container_id(entry.container.id());
  request.set_verbose(full);
  ASSIGN_OR_RETURN(cri::ContainerStatusResponse response, client_.Call(request));
  FillStatus(entry.container, response.status());
  entry.container.set_state(StateOf(response.status().state()));
  if (!full) return {};
  *entry.container.mutable_config()->mutable_mounts() = response.status().mounts();
  *entry.container.mutable_config()->mutable_linux()->mutable_resources() = response.status().resources().linux();
  if (auto info = response.info().find("info"); info != response.info().end()) {
    FillInfo(entry.container, info->second);
  }
  return {};
}

Status Engine::FillPodFromStatus(control::Pod& pod) {
  if (pod.id().empty()) return {};
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(pod.id());
  Result<cri::PodSandboxStatusResponse> response = client_.Call(request);
  if (response.code() == StatusCode::kNotFound) return {};
  RETURN_IF_ERROR(response.status());
  pod.clear_ips();
  const cri::PodSandboxNetworkStatus& network = response->status().network();
  if (!network.ip().empty()) pod.add_ips(network.ip());
  for (const cri::PodIP& ip : network.additional_ips()) pod.add_ips(ip.ip());
  *pod.mutable_config()->mutable_linux()->mutable_security_context()->mutable_namespace_options() =
      response->status().linux().namespaces().options();
  return {};
}

namespace {

control::StoredImage ImageOf(const cri::Image& image) {
  control::StoredImage out;
  out.set_id(image.id());
  *out.mutable_tags() = image.repo_tags();
  *out.mutable_digests() = image.repo_digests();
  out.set_size(image.size());
  out.set_os("linux");
  if (image.repo_digests_size() > 0) {
    const std::string& digest = image.repo_digests(0);
    out.set_manifest_digest(digest.substr(digest.find('@') + 1));
  }
  return out;
}

// The image's configuration in verbose information: "imageSpec" with all who have it.
void FillImageInfo(control::StoredImage& image, const std::string& text) {
  Result<boost::json::value> info = oci::ParseJson(text);
  if (!info.ok()) return;
  oci::JsonNode spec = oci::JsonNode(*info, "info").Key("imageSpec");
  if (!spec.is_object()) return;
  image.set_config_json(oci::WriteJson(*spec.value()));
}

}  // namespace

Result<std::vector<control::StoredImage>> Engine::CriImages() {
  ASSIGN_OR_RETURN(cri::ListImagesResponse response, client_.Call(cri::ListImagesRequest()));
  std::vector<control::StoredImage> images;
  for (const cri::Image& image : response.images()) images.push_back(ImageOf(image));
  return images;
}

Result<control::StoredImage> Engine::CriImage(const std::string& name) {
  cri::ImageStatusRequest request;
  request.set_verbose(true);
  request.mutable_image()->set_image(name);
  Result<cri::ImageStatusResponse> response = client_.Call(request);
  if (response.ok() && response->has_image() && !response->image().id().empty()) {
    control::StoredImage image = ImageOf(response->image());
    if (auto info = response->info().find("info"); info != response->info().end()) FillImageInfo(image, info->second);
    return image;
  }
  if (!response.ok() && response.code() != StatusCode::kNotFound && response.code() != StatusCode::kInvalidArgument) {
    return response.status();
  }
  std::string_view digits = BareDigest(name);
  if (digits.size() >= 4 && digits.find_first_not_of("0123456789abcdef") == std::string_view::npos) {
    ASSIGN_OR_RETURN(std::vector<control::StoredImage> images, CriImages());
    for (const control::StoredImage& image : images) {
      if (BareDigest(image.id()).starts_with(digits) && image.id() != name) return CriImage(image.id());
    }
  }
  return NotFound("no such image");
}

}  // namespace davit::api
