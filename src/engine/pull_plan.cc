#include "engine/pull_plan.h"

#include <utility>

#include "engine/registry_auth.h"

namespace davit::engine {
namespace {

// The name under which the node's credentials for an endpoint are kept; empty: it has none that could be looked up.
image::Reference NameOf(const image::Endpoint& endpoint) {
  std::string host = endpoint.Host();
  if (image::IsDockerHub(host)) host = "docker.io";
  Result<image::Reference> name = image::Reference::Parse(host + "/" + endpoint.repository);
  // "mirror/x" would be a repository of Docker Hub, whose secret is not for a host of this name.
  if (!name.ok() || name->domain() != host) return {};
  return *name;
}

}  // namespace

image::HostMap HostsOf(const config::ImageConfig& config) {
  image::HostMap out;
  for (const auto& [host, registry] : config.registries) {
    image::HostOptions& options = out[host];
    options.plain_http = registry.plain_http;
    options.ca_file = registry.ca_file;
    options.skip_verify = registry.skip_verify;
    options.fallback = registry.fallback;
    options.mirrors = registry.mirrors;
  }
  return out;
}

Result<registries::Plan> PlanPull(const config::ImageConfig& config, const image::Reference& reference,
                                  const image::Credentials& request, const std::string& pod_namespace,
                                  Deadline deadline) {
  ASSIGN_OR_RETURN(registries::Plan plan,
                   registries::MakePlan({config.registries_conf, config.hosts_dirs}, HostsOf(config), reference));
  // Said also where nobody is asked with them.
  RETURN_IF_ERROR(image::UserAndPassword(request).status());
  image::GiveCredentials(request, "the request", reference, plan.endpoints);
  for (image::Endpoint& endpoint : plan.endpoints) {
    if (!endpoint.credentials.empty()) continue;
    const image::Reference name = NameOf(endpoint);
    if (name.empty()) continue;
    ASSIGN_OR_RETURN(FoundCredentials found,
                     ConfiguredCredentials(config, name, pod_namespace, deadline, Helpers::kNone));
    endpoint.ask_credentials = found.ask_helper;
    endpoint.credentials = std::move(found.credentials);
    endpoint.credentials_source = std::move(found.source);
  }
  return plan;
}

Result<FoundCredentials> FindCredentials(const config::ImageConfig& config, const image::Endpoint& endpoint,
                                         const std::string& pod_namespace, Deadline deadline) {
  const image::Reference name = NameOf(endpoint);
  if (name.empty()) return FoundCredentials();
  return ConfiguredCredentials(config, name, pod_namespace, deadline);
}

}  // namespace davit::engine
