// POST /containers/create, of both APIs: from the translated request to a container.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/create_spec.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/exec_sessions.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "api/make.h"
#include "base/strings.h"
#include "client/client.h"
#include "oci/json.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

// The request as it came, for inspection to say it again.
std::string ClientData(std::string_view flavour, const std::string& body) {
  return fmt::format("{{\"{}\":{}}}", flavour, Trim(body).empty() ? "{}" : Trim(body));
}

Status ResolveImage(Api& api, bool libpod, CreateSpec& spec) {
  if (spec.image.empty()) return InvalidArgument("no image was named: config.image: invalid argument");
  ASSIGN_OR_RETURN(control::StoredImage image, api.engine().FindImage(libpod, spec.image));
  cri::ImageSpec& to = *spec.request.mutable_config()->mutable_image();
  // Shown as the client named it; an id shows the image's name.
  bool by_id = std::string_view(image.id()).find(BareDigest(spec.image)) != std::string_view::npos;
  std::string shown = by_id && image.tags_size() > 0 ? image.tags(0) : spec.image;
  if (!by_id) {
    for (const std::string& tag : image.tags()) {
      if (tag == spec.image || tag.ends_with("/" + spec.image) || tag.ends_with("/" + spec.image + ":latest") ||
          tag == spec.image + ":latest") {
        if (libpod) shown = tag;
      }
    }
  }
  // By its id there is no question which one is meant.
  to.set_image(image.id());
  to.set_user_specified_image(shown);
  if (!spec.publish_all) return {};
  SpecBuilder ports;
  std::vector<std::string> exposed = spec.exposed;
  if (Result<json::value> config = oci::ParseJson(image.config_json()); config.ok()) {
    Result<std::vector<std::string>> keys = oci::JsonNode(*config, "image").Key("config").Key("ExposedPorts").Keys();
    if (keys.ok()) exposed.insert(exposed.end(), keys->begin(), keys->end());
  }
  for (const std::string& key : exposed) {
    size_t slash = key.find('/');
    auto number = ParseInt64(key.substr(0, slash));
    if (!number) continue;
    bool known = false;
    for (const cri::PortMapping& port : spec.request.pod_config().port_mappings())
      known = known || port.container_port() == *number;
    if (!known) RETURN_IF_ERROR(ports.Port("", 0, *number, slash == std::string::npos ? "tcp" : key.substr(slash + 1)));
  }
  for (const cri::PortMapping& port : ports.spec.request.pod_config().port_mappings()) {
    *spec.request.mutable_pod_config()->add_port_mappings() = port;
    spec.request.mutable_pod_options()->set_random_ports(true);
  }
  return {};
}

Status ResolveOthers(Api& api, bool libpod, CreateSpec& spec) {
  if (!spec.share_with.empty()) {
    ASSIGN_OR_RETURN(Entry other, api.engine().Find(libpod, spec.share_with, false));
    if (!other.container.standalone()) return KubernetesOwns("share the network of", other.name);
    spec.request.set_pod(other.container.pod_id());
  }
  if (!spec.pid_of.empty()) {
    ASSIGN_OR_RETURN(Entry other, api.engine().Find(libpod, spec.pid_of, false));
    spec.request.mutable_config()
        ->mutable_linux()
        ->mutable_security_context()
        ->mutable_namespace_options()
        ->set_target_id(other.container.id());
    if (other.container.standalone() && spec.request.pod().empty()) spec.request.set_pod(other.container.pod_id());
  }
  if (!spec.pod.empty()) {
    ASSIGN_OR_RETURN(control::Pod pod, api.engine().FindPod(spec.pod));
    if (!pod.standalone()) return KubernetesOwns("add a container to", pod.name());
    spec.request.set_pod(pod.id());
  }
  for (const std::string& text : spec.volumes_from) {
    size_t colon = text.find(':');
    bool readonly = colon != std::string::npos && text.find("ro", colon) != std::string::npos;
    ASSIGN_OR_RETURN(Entry other, api.engine().Find(libpod, text.substr(0, colon)));
    for (control::NamedVolume volume : other.container.volumes()) {
      volume.set_readonly(volume.readonly() || readonly);
      *spec.request.mutable_options()->add_volumes() = volume;
    }
    for (cri::Mount mount : other.container.config().mounts()) {
      mount.set_readonly(mount.readonly() || readonly);
      *spec.request.mutable_config()->add_mounts() = mount;
    }
  }
  return {};
}

// Volumes with labels or options, which a container cannot ask for. What was made goes again when the rest fails.
class MadeVolumes {
 public:
  explicit MadeVolumes(Api& api) : api_(api) {}
  ~MadeVolumes() {
    for (const std::string& name : names_) {
      control::RemoveVolumeRequest remove;
      remove.set_name(name);
      remove.set_force(true);
      // An orphan is found by the next prune.
      IgnoreError(api_.client().Call(remove).status());
    }
  }
  Status Make(CreateSpec& spec) {
    for (NewVolume& wanted : spec.new_volumes) {
      Result<control::CreateVolumeResponse> made = api_.client().Call(wanted.request);
      if (api_.engine().volumes.Missing(made.status())) return NeedsDavit("a volume");
      RETURN_IF_ERROR(made.status());
      if (made->created()) names_.push_back(made->volume().name());
      wanted.mount.set_name(made->volume().name());
      *spec.request.mutable_options()->add_volumes() = wanted.mount;
    }
    return {};
  }
  void Keep() { names_.clear(); }

 private:
  Api& api_;
  std::vector<std::string> names_;
};

// In front of a runtime that has CRI alone: a pod of its own, run at once, for CRI has nothing before that.
Result<std::string> CreateByCri(Api& api, CreateSpec& spec, const std::string& data) {
  const control::ContainerOptions& options = spec.request.options();
  if (options.has_health() || options.volumes_size() > 0 || options.auto_remove() || options.init() ||
      options.ulimits_size() > 0 || spec.request.pod_options().networks_size() > 0 ||
      spec.request.pod_options().no_network() || spec.request.pod_options().random_ports() ||
      !spec.request.pod().empty() || (!options.restart().name().empty() && options.restart().name() != "no")) {
    return NeedsDavit(
        "a container with named volumes, networks, restart policy, health check, ulimits, --rm or random ports");
  }
  cri::RunPodSandboxRequest run;
  *run.mutable_config() = spec.request.pod_config();
  std::string uid = NewId();
  run.mutable_config()->mutable_metadata()->set_uid(uid);
  run.mutable_config()->mutable_metadata()->set_namespace_("davit-api");
  run.mutable_config()->set_log_directory("/var/log/pods/davit-api_" + options.name() + "_" + uid.substr(0, 12));
  (*run.mutable_config()->mutable_annotations())[kNameAnnotation] = options.name();
  ASSIGN_OR_RETURN(cri::RunPodSandboxResponse pod, api.client().Call(run));
  cri::CreateContainerRequest create;
  create.set_pod_sandbox_id(pod.pod_sandbox_id());
  *create.mutable_sandbox_config() = run.config();
  *create.mutable_config() = spec.request.config();
  create.mutable_config()->set_log_path("container.log");
  (*create.mutable_config()->mutable_annotations())[kNameAnnotation] = options.name();
  (*create.mutable_config()->mutable_annotations())[kDataAnnotation] = data;
  Result<cri::CreateContainerResponse> container = api.client().Call(create);
  if (!container.ok()) {
    cri::StopPodSandboxRequest stop;
    stop.set_pod_sandbox_id(pod.pod_sandbox_id());
    cri::RemovePodSandboxRequest remove;
    remove.set_pod_sandbox_id(pod.pod_sandbox_id());
    Status undo = api.client().Call(stop).status();
    if (undo.ok()) undo = api.client().Call(remove).status();
    return container.status().WithUndoError(undo);
  }
  return container->container_id();
}

Result<Reply> Create(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  std::string name = request.Query("name");
  Result<CreateSpec> read = request.libpod ? LibpodCreate(document.root(), name) : DockerCreate(document.root(), name);
  RETURN_IF_ERROR(document.status());
  RETURN_IF_ERROR(read.status());
  CreateSpec spec = std::move(*read);
  RETURN_IF_ERROR(ResolveImage(api, request.libpod, spec));
  RETURN_IF_ERROR(ResolveOthers(api, request.libpod, spec));
  std::string data = ClientData(request.libpod ? "libpod" : "docker", request.body);
  spec.request.mutable_options()->set_client_data(data);
  json::array warnings = StringArray(spec.warnings);
  if (!api.engine().HasStandalone()) {
    ASSIGN_OR_RETURN(std::string id, CreateByCri(api, spec, data));
    return JsonReply(json::object{{"Id", id}, {"Warnings", std::move(warnings)}}, 201);
  }
  MadeVolumes volumes(api);
  RETURN_IF_ERROR(volumes.Make(spec));
  if (!spec.request.pod().empty()) {
    spec.request.clear_pod_config();
    spec.request.clear_pod_options();
  }
  Result<control::CreateContainerResponse> made = api.client().Call(spec.request);
  if (made.code() == StatusCode::kAlreadyExists) {
    return AlreadyExists(
        request.libpod ? fmt::format("creating container storage: the container name \"{}\" is already in use: that "
                                     "name is already in use",
                                     spec.request.options().name())
                       : fmt::format("Conflict. The container name \"/{}\" is already in use by another container. You "
                                     "have to remove (or rename) that container to be able to reuse that name",
                                     spec.request.options().name()));
  }
  RETURN_IF_ERROR(made.status());
  volumes.Keep();
  for (const std::string& warning : made->warnings()) warnings.emplace_back(warning);
  return JsonReply(json::object{{"Id", made->container_id()}, {"Warnings", std::move(warnings)}}, 201);
}

}  // namespace

Result<std::string> MakeLibpodContainer(Api& api, const std::string& body) {
  Request request;
  request.libpod = true;
  request.body = body;
  ASSIGN_OR_RETURN(Reply reply, Create(api, request));
  ASSIGN_OR_RETURN(JsonDocument answer, JsonDocument::Parse(reply.body));
  return answer.root()["Id"].Str();
}

void AddCreateRoutes(Router& router) { router.Add(Flavour::kBoth, "POST", "/containers/create", Create); }

}  // namespace davit::api
