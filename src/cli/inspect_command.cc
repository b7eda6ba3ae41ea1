// davit inspect, volume inspect and network inspect.
#include <fmt/format.h>

#include "base/strings.h"
#include "cli/container_json.h"
#include "cli/everyday.h"
#include "davit/control/v1/files.pb.h"
#include "davit/control/v1/networks.pb.h"
#include "davit/control/v1/standalone.pb.h"
#include "davit/control/v1/volumes.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

Result<std::string> InspectContainer(const Context& context, const std::string& name) {
  ASSIGN_OR_RETURN(control::ListContainersAllResponse found, FindContainer(context, name));
  return ContainerJson(found.containers(0), PodOf(found, found.containers(0)));
}

Result<std::string> InspectPod(const Context& context, const std::string& name) {
  control::ListPodsRequest request;
  request.add_pods(name);
  ASSIGN_OR_RETURN(control::ListPodsResponse found, context.client.Call(request));
  if (found.pods_size() != 1) return NotFound("no pod \"" + Printable(name) + "\"");
  ASSIGN_OR_RETURN(control::ListContainersAllResponse all, context.client.Call(control::ListContainersAllRequest()));
  Names containers;
  for (const control::Container& one : all.containers()) {
    if (one.pod_id() == found.pods(0).id()) containers.push_back("\"" + one.id() + "\"");
  }
  return PodJson(found.pods(0), "[" + Join(containers, ",") + "]");
}

Result<std::string> InspectImage(const Context& context, const std::string& name) {
  control::ListStoredImagesRequest request;
  request.add_images(name);
  request.set_full(true);
  ASSIGN_OR_RETURN(control::ListStoredImagesResponse found, context.client.Call(request));
  if (found.images_size() != 1) return NotFound("no image \"" + Printable(name) + "\"");
  return ImageJson(found.images(0));
}

Result<std::string> InspectVolume(const Context& context, const std::string& name) {
  control::ListVolumesRequest request;
  request.add_names(name);
  ASSIGN_OR_RETURN(control::ListVolumesResponse found, context.client.Call(request));
  if (found.volumes_size() != 1) return NotFound("no volume \"" + Printable(name) + "\"");
  return VolumeJson(found.volumes(0));
}

Result<std::string> InspectNetwork(const Context& context, const std::string& name) {
  control::ListNetworksRequest request;
  request.add_networks(name);
  ASSIGN_OR_RETURN(control::ListNetworksResponse found, context.client.Call(request));
  if (found.networks_size() != 1) return NotFound("no network \"" + Printable(name) + "\"");
  return NetworkJson(found.networks(0));
}

using Inspector = Result<std::string> (*)(const Context&, const std::string&);

// In the order in which a name is looked for.
constexpr std::pair<const char*, Inspector> kInspectors[] = {{"container", InspectContainer},
                                                             {"image", InspectImage},
                                                             {"volume", InspectVolume},
                                                             {"network", InspectNetwork},
                                                             {"pod", InspectPod}};

Result<std::string> InspectOne(const Context& context, const std::string& type, const std::string& name) {
  for (const auto& [word, inspect] : kInspectors) {
    if (!type.empty() && type != word) continue;
    Result<std::string> found = inspect(context, name);
    if (found.ok() || !type.empty()) return found;
    // Not one of these: perhaps one of the next. A name that none of them can have is no error of its own here.
    const bool next = found.code() == StatusCode::kNotFound || found.code() == StatusCode::kUnimplemented ||
                      found.code() == StatusCode::kInvalidArgument;
    if (!next || found.status().message().find("ambiguous") != std::string::npos) return found;
  }
  return NotFound(fmt::format("no container, image, volume, network or pod \"{}\"", Printable(name)));
}

}  // namespace

Result<int> Inspect(const Context& context, const InspectOptions& options) {
  std::string all;
  int code = 0;
  for (const std::string& name : options.objects) {
    Result<std::string> found = InspectOne(context, options.type, name);
    if (found.code() == StatusCode::kUnavailable) return found.status();
    if (found.ok() && !options.format.empty()) {
      ASSIGN_OR_RETURN(std::string line, Formatted(*found, options.format));
      PrintLine(line);
    } else if (found.ok()) {
      all += (all.empty() ? "" : ",") + *found;
    } else {
      PrintError(found.status());
      code = 1;
    }
  }
  if (options.format.empty()) PrintLine(Indented("[" + all + "]"));
  return code;
}

Result<int> VolumeInspect(const Context& context, const Names& volumes) {
  return Inspect(context, InspectOptions{volumes, "volume", ""});
}

Result<int> NetworkInspect(const Context& context, const Names& networks) {
  return Inspect(context, InspectOptions{networks, "network", ""});
}

}  // namespace davit::cli
