// Plan: whom a pull asks, in which order, and why. Made anew for each pull, so that changed files work at once.
//
// The first of these that speaks of the registry decides alone:
//   1. davit.toml: an entry of image.registries with a mirror or with how to reach it
//   2. hosts.toml of the registry's own directory
//   3. registries.conf
//   4. hosts.toml of the directory _default
//   5. nobody: the registry that the reference names
// A registry that registries.conf blocks is blocked in every case. Certificates of certs.d directories serve every
// endpoint that has none.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "image/endpoint.h"
#include "image/reference.h"

namespace davit::registries {

struct Files {
  std::string registries_conf;  // absolute path, with drop-ins in PATH.d; empty or not there: none
  std::vector<std::string>
      hosts_dirs;  // absolute paths of directories of registries; those that are not there are none
};

struct Plan {
  std::vector<image::Endpoint> endpoints;  // at least one, without credentials
  std::vector<std::string> notes;          // for people: endpoints that were left out, and why
};

// Blocks on file reads. kPermissionDenied for a blocked registry, kFailedPrecondition for files that are wrong; both
// name file and line.
Result<Plan> MakePlan(const Files& files, const image::HostMap& own, const image::Reference& reference);

}  // namespace davit::registries
