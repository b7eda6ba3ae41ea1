// What the server is: ping, version, info, and what takes room.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/host_facts.h"
#include "api/json_out.h"
#include "base/time.h"
#include "base/version.h"
#include "client/client.h"
#include "davit/control/v1/volumes.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

Result<Reply> Ping(Api&, const Request&) {
  Reply reply;
  reply.body = "OK";
  reply.content_type = "text/plain; charset=utf-8";
  // Of the build, 1 is the builder that needs no BuildKit session.
  reply.headers = {{"Builder-Version", "1"},        {"Buildkit-Version", ""},
                   {"Docker-Experimental", "true"}, {"Ostype", "linux"},
                   {"Cache-Control", "no-cache"},   {"Pragma", "no-cache"},
                   {"Swarm", "inactive"},           {"Libpod-Buildah-Version", "1.33.0"}};
  return reply;
}

std::string RuntimeVersion(Api& api) {
  cri::VersionRequest request;
  Result<cri::VersionResponse> version = api.client().Call(request);
  return version.ok() ? fmt::format("{} {}", version->runtime_name(), version->runtime_version()) : std::string();
}

// One answer for both: Podman's clients look for the first component's name, Docker's read the top.
Result<Reply> Version(Api& api, const Request&) {
  HostFacts host = ReadHostFacts();
  cri::VersionRequest request;
  ASSIGN_OR_RETURN(cri::VersionResponse runtime, api.client().Call(request));
  const char* built = "1970-01-01T00:00:00Z";
  json::array components;
  components.push_back({{"Name", "Podman Engine"},
                        {"Version", kLibpodVersion},
                        {"Details",
                         {{"APIVersion", kLibpodVersion},
                          {"Arch", host.architecture},
                          {"BuildTime", built},
                          {"Experimental", "false"},
                          {"GitCommit", ""},
                          {"GoVersion", ""},
                          {"KernelVersion", host.kernel},
                          {"MinAPIVersion", "4.0.0"},
                          {"Os", "linux"}}}});
  components.push_back({{"Name", "davit-api"}, {"Version", kVersion}, {"Details", json::object()}});
  components.push_back({{"Name", runtime.runtime_name()},
                        {"Version", runtime.runtime_version()},
                        {"Details", {{"CRI", runtime.runtime_api_version()}}}});
  return JsonReply(json::object{
      {"Platform", {{"Name", fmt::format("davit on linux/{}/{}-{}", host.architecture, host.os_id, host.os_version)}}},
      {"Components", std::move(components)},
      {"Version", kLibpodVersion},
      {"ApiVersion", kApiVersion},
      {"MinAPIVersion", kMinApiVersion},
      {"GitCommit", ""},
      {"GoVersion", ""},
      {"Os", "linux"},
      {"Arch", host.architecture},
      {"KernelVersion", host.kernel},
      {"BuildTime", built}});
}

struct Counts {
  int64_t all = 0;
  int64_t running = 0;
  int64_t paused = 0;
  int64_t images = 0;
};

Result<Counts> Count(Api& api) {
  Counts counts;
  ASSIGN_OR_RETURN(std::vector<Entry> entries, api.engine().Containers());
  for (const Entry& entry : entries) {
    ++counts.all;
    counts.running += entry.container.state() == control::STATE_RUNNING ? 1 : 0;
    counts.paused += entry.container.state() == control::STATE_PAUSED ? 1 : 0;
  }
  ASSIGN_OR_RETURN(std::vector<control::StoredImage> images, api.engine().Images());
  counts.images = static_cast<int64_t>(images.size());
  return counts;
}

Result<Reply> CompatInfo(Api& api, const Request&) {
  HostFacts host = ReadHostFacts();
  ASSIGN_OR_RETURN(Counts counts, Count(api));
  json::object registry = {{"AllowNondistributableArtifactsCIDRs", json::array()},
                           {"AllowNondistributableArtifactsHostnames", json::array()},
                           {"InsecureRegistryCIDRs", json::array()},
                           {"IndexConfigs", json::object()},
                           {"Mirrors", json::array()}};
  return JsonReply(json::object{{"ID", host.hostname},
                                {"Containers", counts.all},
                                {"ContainersRunning", counts.running},
                                {"ContainersPaused", counts.paused},
                                {"ContainersStopped", counts.all - counts.running - counts.paused},
                                {"Images", counts.images},
                                {"Driver", "overlay"},
                                {"DriverStatus", json::array()},
                                {"Plugins",
                                 {{"Volume", json::array{"local"}},
                                  {"Network", json::array{"bridge", "host", "none"}},
                                  {"Authorization", nullptr},
                                  {"Log", json::array{"k8s-file"}}}},
                                {"MemoryLimit", true},
                                {"SwapLimit", true},
                                {"KernelMemory", false},
                                {"CpuCfsPeriod", true},
                                {"CpuCfsQuota", true},
                                {"CPUShares", true},
                                {"CPUSet", true},
                                {"PidsLimit", true},
                                {"IPv4Forwarding", true},
                                {"BridgeNfIptables", true},
                                {"BridgeNfIp6tables", true},
                                {"Debug", false},
                                {"NFd", 0},
                                {"OomKillDisable", false},
                                {"NGoroutines", 0},
                                {"SystemTime", FormatRfc3339Nano(WallNanos())},
                                {"LoggingDriver", "k8s-file"},
                                {"CgroupDriver", "cgroupfs"},
                                {"CgroupVersion", host.cgroup_v2 ? "2" : "1"},
                                {"NEventsListener", 0},
                                {"KernelVersion", host.kernel},
                                {"OperatingSystem", host.os_name},
                                {"OSVersion", host.os_version},
                                {"OSType", "linux"},
                                {"Architecture", host.architecture},
                                {"IndexServerAddress", "https://index.docker.io/v1/"},
                                {"RegistryConfig", std::move(registry)},
                                {"NCPU", host.cpus},
                                {"MemTotal", host.memory_total},
                                {"GenericResources", nullptr},
                                {"DockerRootDir", "/var/lib/davit"},
                                {"HttpProxy", ""},
                                {"HttpsProxy", ""},
                                {"NoProxy", ""},
                                {"Name", host.hostname},
                                {"Labels", json::array()},
                                {"ExperimentalBuild", false},
                                {"ServerVersion", kVersion},
                                {"Runtimes", {{"default", {{"path", RuntimeVersion(api)}}}}},
                                {"DefaultRuntime", "default"},
                                {"Swarm",
                                 {{"NodeID", ""},
                                  {"NodeAddr", ""},
                                  {"LocalNodeState", "inactive"},
                                  {"ControlAvailable", false},
                                  {"Error", ""},
                                  {"RemoteManagers", nullptr}}},
                                {"LiveRestoreEnabled", true},
                                {"Isolation", ""},
                                {"InitBinary", "davit-init"},
                                {"ContainerdCommit", {{"ID", ""}, {"Expected", ""}}},
                                {"RuncCommit", {{"ID", ""}, {"Expected", ""}}},
                                {"InitCommit", {{"ID", ""}, {"Expected", ""}}},
                                {"SecurityOptions", json::array{"name=seccomp,profile=default"}},
                                {"ProductLicense", "Apache-2.0"},
                                {"Warnings", json::array()},
                                {"Rootless", false}});
}

Result<Reply> LibpodInfo(Api& api, const Request&) {
  HostFacts host = ReadHostFacts();
  ASSIGN_OR_RETURN(Counts counts, Count(api));
  std::string runtime = RuntimeVersion(api);
  json::object about = {
      {"arch", host.architecture},
      {"buildahVersion", "1.33.0"},
      {"cgroupManager", "cgroupfs"},
      {"cgroupVersion", host.cgroup_v2 ? "v2" : "v1"},
      {"cgroupControllers", json::array{"cpuset", "cpu", "memory", "pids"}},
      {"conmon",
       {{"package", "davit"}, {"path", "davit-monitor"}, {"version", fmt::format("davit-monitor {}", kVersion)}}},
      {"cpus", host.cpus},
      {"cpuUtilization", {{"userPercent", 0.0}, {"systemPercent", 0.0}, {"idlePercent", 0.0}}},
      {"databaseBackend", "sqlite"},
      {"distribution", {{"distribution", host.os_id}, {"version", host.os_version}, {"codename", host.os_codename}}},
      {"eventLogger", "none"},
      {"hostname", host.hostname},
      {"idMappings", {{"gidmap", nullptr}, {"uidmap", nullptr}}},
      {"kernel", host.kernel},
      {"linkmode", "static"},
      {"logDriver", "k8s-file"},
      {"memFree", host.memory_free},
      {"memTotal", host.memory_total},
      {"networkBackend", "cni"},
      {"networkBackendInfo", {{"backend", "cni"}, {"dns", json::object()}}},
      {"ociRuntime", {{"name", "default"}, {"package", ""}, {"path", ""}, {"version", runtime}}},
      {"os", "linux"},
      {"remoteSocket", {{"path", "unix://" + api.options().socket}, {"exists", true}}},
      {"security",
       {{"apparmorEnabled", false},
        {"capabilities",
         "CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_FSETID,CAP_KILL,CAP_NET_BIND_SERVICE,CAP_SETFCAP,CAP_SETGID,"
         "CAP_SETPCAP,CAP_SETUID,CAP_SYS_CHROOT"},
        {"rootless", false},
        {"seccompEnabled", true},
        {"seccompProfilePath", ""},
        {"selinuxEnabled", false}}},
      {"serviceIsRemote", false},
      {"slirp4netns", {{"executable", ""}, {"package", ""}, {"version", ""}}},
      {"pasta", {{"executable", ""}, {"package", ""}, {"version", ""}}},
      {"swapFree", host.swap_free},
      {"swapTotal", host.swap_total},
      {"uptime", fmt::format("{}h {}m {}.00s", host.uptime_seconds / 3600, host.uptime_seconds / 60 % 60,
                             host.uptime_seconds % 60)},
      {"variant", ""}};
  json::object store = {{"configFile", "/etc/davit/davit.toml"},
                        {"containerStore",
                         {{"number", counts.all},
                          {"paused", counts.paused},
                          {"running", counts.running},
                          {"stopped", counts.all - counts.running - counts.paused}}},
                        {"graphDriverName", "overlay"},
                        {"graphOptions", json::object()},
                        {"graphRoot", "/var/lib/davit"},
                        {"graphRootAllocated", 0},
                        {"graphRootUsed", 0},
                        {"graphStatus", json::object()},
                        {"imageCopyTmpDir", api.options().spool},
                        {"imageStore", {{"number", counts.images}}},
                        {"runRoot", "/run/davit"},
                        {"transientStore", false},
                        {"volumePath", "/var/lib/davit/volumes"}};
  return JsonReply(json::object{{"host", std::move(about)},
                                {"store", std::move(store)},
                                {"registries", json::object()},
                                {"plugins",
                                 {{"volume", json::array{"local"}},
                                  {"network", json::array{"bridge"}},
                                  {"log", json::array{"k8s-file"}},
                                  {"authorization", nullptr}}},
                                {"version",
                                 {{"APIVersion", kLibpodVersion},
                                  {"Version", kVersion},
                                  {"GoVersion", ""},
                                  {"GitCommit", ""},
                                  {"BuiltTime", "Thu Jan  1 00:00:00 1970"},
                                  {"Built", 0},
                                  {"OsArch", "linux/" + host.architecture},
                                  {"Os", "linux"}}}});
}

struct Usage {
  std::vector<control::StoredImage> images;
  std::vector<Entry> containers;
  std::vector<control::Volume> volumes;
};

Result<Usage> Measure(Api& api) {
  Usage usage;
  ASSIGN_OR_RETURN(usage.images, api.engine().Images());
  ASSIGN_OR_RETURN(usage.containers, api.engine().Containers());
  if (api.engine().volumes.MayAsk()) {
    control::ListVolumesRequest request;
    request.set_sizes(true);
    Result<control::ListVolumesResponse> volumes = api.client().Call(request);
    if (!api.engine().volumes.Missing(volumes.status())) {
      RETURN_IF_ERROR(volumes.status());
      usage.volumes.assign(volumes->volumes().begin(), volumes->volumes().end());
    }
  }
  return usage;
}

// Bytes of the writable layers, by container.
std::map<std::string, uint64_t> WritableBytes(Api& api) {
  std::map<std::string, uint64_t> out;
  Result<cri::ListContainerStatsResponse> stats = api.client().Call(cri::ListContainerStatsRequest());
  if (!stats.ok()) return out;
  for (const cri::ContainerStats& entry : stats->stats()) {
    out[entry.attributes().id()] = entry.writable_layer().used_bytes().value();
  }
  return out;
}

Result<Reply> DiskUsage(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Usage usage, Measure(api));
  std::map<std::string, uint64_t> writable = WritableBytes(api);
  json::array images;
  uint64_t layers = 0;
  for (const control::StoredImage& image : usage.images) {
    layers += image.size() - std::min(image.size(), image.shared_size());
    if (request.libpod) {
      std::string tag = image.tags_size() > 0 ? image.tags(0) : "<none>:<none>";
      size_t colon = tag.rfind(':');
      images.push_back({{"Repository", tag.substr(0, colon)},
                        {"Tag", tag.substr(colon + 1)},
                        {"ImageID", BareDigest(image.id())},
                        {"Created", FormatRfc3339Nano(image.created_at())},
                        {"Size", image.size()},
                        {"SharedSize", image.shared_size()},
                        {"UniqueSize", image.size() - std::min(image.size(), image.shared_size())},
                        {"Containers", image.containers()}});
    } else {
      images.push_back(ImageSummary(image, false, request.version));
    }
  }
  json::array containers;
  for (const Entry& entry : usage.containers) {
    if (request.libpod) {
      containers.push_back({{"ContainerID", entry.container.id()},
                            {"Image", entry.container.image()},
                            {"Command", StringArray(entry.container.command_line())},
                            {"LocalVolumes", entry.container.volumes_size()},
                            {"Size", writable[entry.container.id()]},
                            {"RWSize", writable[entry.container.id()]},
                            {"Created", FormatRfc3339Nano(entry.container.created_at())},
                            {"Status", StateName(entry.container.state())},
                            {"Names", entry.name}});
    } else {
      json::object summary = ContainerSummary(entry);
      summary["SizeRw"] = writable[entry.container.id()];
      containers.push_back(std::move(summary));
    }
  }
  json::array volumes;
  for (const control::Volume& volume : usage.volumes) {
    if (request.libpod) {
      volumes.push_back({{"VolumeName", volume.name()},
                         {"Links", volume.containers_size()},
                         {"Size", volume.bytes()},
                         {"ReclaimableSize", volume.containers_size() == 0 ? volume.bytes() : 0}});
    } else {
      json::object shown = VolumeObject(volume, false);
      shown["UsageData"] = {{"Size", volume.bytes()}, {"RefCount", volume.containers_size()}};
      volumes.push_back(std::move(shown));
    }
  }
  if (request.libpod) {
    return JsonReply(json::object{{"ImagesSize", layers},
                                  {"Images", std::move(images)},
                                  {"Containers", std::move(containers)},
                                  {"Volumes", std::move(volumes)}});
  }
  return JsonReply(json::object{{"LayersSize", layers},
                                {"Images", std::move(images)},
                                {"Containers", std::move(containers)},
                                {"Volumes", std::move(volumes)},
                                {"BuildCache", json::array()},
                                {"BuilderSize", 0}});
}

Result<Reply> NoSwarm(Api&, const Request&) {
  return ErrorReply(503, "This node is not a swarm manager: node is not part of a swarm");
}

// No registry that this node may ask is known to the server, and a search of somebody else's would be a surprise.
Result<Reply> NoSearch(Api&, const Request&) {
  return ErrorReply(501, "image search is not supported: registries have no common way to be searched");
}

Result<Reply> NoPlugins(Api&, const Request&) { return JsonReply(json::array()); }

Result<Reply> Auth(Api&, const Request&) {
  return ErrorReply(501, "login is not supported here: credentials go with each pull, or stand in davitd's registries");
}

}  // namespace

void AddSystemRoutes(Router& router) {
  router.Add(Flavour::kBoth, "GET", "/_ping", Ping);
  router.Add(Flavour::kBoth, "HEAD", "/_ping", Ping);
  router.Add(Flavour::kBoth, "GET", "/version", Version);
  router.Add(Flavour::kCompat, "GET", "/info", CompatInfo);
  router.Add(Flavour::kLibpod, "GET", "/info", LibpodInfo);
  router.Add(Flavour::kBoth, "GET", "/system/df", DiskUsage);
  router.Add(Flavour::kCompat, "GET", "/plugins", NoPlugins);
  router.Add(Flavour::kCompat, "POST", "/auth", Auth);
  for (const char* path : {"/swarm", "/nodes", "/services", "/tasks", "/configs"}) {
    router.Add(Flavour::kCompat, "GET", path, NoSwarm);
  }
  router.Add(Flavour::kBoth, "GET", "/images/search", NoSearch);
}

}  // namespace davit::api
