// What a client asks of a build, of Docker's API and of Podman's, and what a Dockerfile says of images.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/exchange.h"
#include "base/result.h"

namespace davit::api {

struct BuildSecret {
  std::string id;
  std::string file;  // in the context, from where it is taken away
};

struct BuildSpec {
  std::vector<std::string> tags;
  std::vector<std::string> dockerfiles;  // relative paths in the context; at least one
  std::map<std::string, std::string> arguments;
  std::map<std::string, std::string> labels;
  std::string target;
  std::string platform;
  bool no_cache = false;
  bool pull = false;
  bool quiet = false;
  bool squash = false;
  bool no_network = false;
  std::vector<std::string> extra_hosts;
  std::vector<BuildSecret> secrets;
};

Result<BuildSpec> ReadBuild(const Request& request);

// The images that a Dockerfile builds on or copies from, with its ARGs before the first FROM (and `arguments` over
// them) put in; neither its own stages nor "scratch".
std::vector<std::string> ImagesOf(std::string_view dockerfile, const std::map<std::string, std::string>& arguments);

// "--gzip" and the like for tar(1), by the first bytes; empty: not packed.
std::string TarFilter(std::string_view first_bytes);

}  // namespace davit::api
