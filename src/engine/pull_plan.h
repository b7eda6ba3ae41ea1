// PlanPull: everything that decides whom one pull asks and with which credentials, of the request, the configuration
// and the files that it names, read anew for each pull.
#pragma once

#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "config/config.h"
#include "engine/registry_auth.h"
#include "image/endpoint.h"
#include "image/pull_options.h"
#include "image/reference.h"
#include "registries/plan.h"

namespace davit::engine {

// How hosts that davit.toml names are reached.
image::HostMap HostsOf(const config::ImageConfig& config);

// The endpoints with their credentials: those of the request where it brings some for an endpoint, else the node's own
// for that endpoint (registry_auth.h). Blocks on files; of a credential helper it is only noted that it has to be asked
// (Endpoint::ask_credentials). Errors are those of registries::MakePlan and ConfiguredCredentials.
Result<registries::Plan> PlanPull(const config::ImageConfig& config, const image::Reference& reference,
                                  const image::Credentials& request, const std::string& pod_namespace,
                                  Deadline deadline);

// The node's credentials for an endpoint that wants to be asked for them. Blocks while a credential helper runs.
Result<FoundCredentials> FindCredentials(const config::ImageConfig& config, const image::Endpoint& endpoint,
                                         const std::string& pod_namespace, Deadline deadline);

}  // namespace davit::engine
