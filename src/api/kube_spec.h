// Kubernetes' Pod, as far as Podman plays it, in the bodies of Podman's own calls.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::api {

struct KubeContainer {
  std::string image;
  bool always_pull = false;
  boost::json::object spec;  // a SpecGenerator, without its pod
};

struct KubePod {
  std::string name;
  boost::json::object spec;         // a PodSpecGenerator
  std::vector<KubeContainer> init;  // run one after the other, before the rest
  std::vector<KubeContainer> containers;
};

// Pods, and the pods that Deployments describe, of a file of several documents. kUnimplemented names what cannot be
// kept: other kinds, ConfigMaps, values from elsewhere.
Result<std::vector<KubePod>> ReadKube(std::string_view yaml);

// "500m" and "64Mi" as nanoseconds of CPU in a second, and bytes.
Result<int64_t> KubeCpu(std::string_view text);
Result<int64_t> KubeMemory(std::string_view text);

}  // namespace davit::api
