#include "registries/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "registries/hosts_toml.h"
#include "registries/registries_conf.h"

namespace davit::registries {
namespace {

// An entry for credentials alone says nothing of endpoints.
bool Decides(const image::HostMap& own, const std::string& domain) {
  auto it = own.find(domain);
  if (it == own.end()) return false;
  const image::HostOptions& options = it->second;
  return !options.mirrors.empty() || !options.fallback || options.plain_http || options.skip_verify ||
         !options.ca_file.empty();
}

Result<image::Endpoint> EndpointAt(const RegistryEntry& entry, const Location& location,
                                   const image::Reference& reference, const image::HostMap& own) {
  const std::string name = Rewrite(entry, location, reference);
  Result<image::Reference> there = image::Reference::Parse(name);
  const bool tagged = name.find_first_of(":@", std::min(name.rfind('/'), name.size())) != std::string::npos;
  if (!there.ok() || !image::Reference::HasRegistry(name) || tagged) {
    return FailedPrecondition(fmt::format("{}: location \"{}\" makes \"{}\" of {}, which is no host[:port]/repository",
                                          entry.where, Printable(location.location, 300), Printable(name, 300),
                                          reference.Name()));
  }
  image::Endpoint out = RegistryEndpoint(*there, own);
  out.mirror = !image::SameHost(there->domain(), reference.domain());
  out.configured_by = entry.where;
  if (location.insecure) {
    out.tls.skip_verify = true;
    out.maybe_plain = out.base.starts_with("https:");
  }
  return out;
}

Result<Plan> PlanOf(const RegistryEntry& entry, const image::Reference& reference, const image::HostMap& own) {
  Plan plan;
  const bool by_digest = !reference.digest().empty();
  for (const Location& mirror : entry.mirrors) {
    if (mirror.take == (by_digest ? Take::kTags : Take::kDigests)) {
      plan.notes.push_back(fmt::format("{} is not asked: {} lets it serve {} only", mirror.location, entry.where,
                                       by_digest ? "tags" : "digests"));
      continue;
    }
    ASSIGN_OR_RETURN(image::Endpoint endpoint, EndpointAt(entry, mirror, reference, own));
    endpoint.mirror = true;
    plan.endpoints.push_back(std::move(endpoint));
  }
  ASSIGN_OR_RETURN(image::Endpoint last, EndpointAt(entry, entry.registry, reference, own));
  plan.endpoints.push_back(std::move(last));
  return plan;
}

Result<Plan> Choose(const Files& files, const image::HostMap& own, const image::Reference& reference) {
  ASSIGN_OR_RETURN(const RegistriesConf conf, LoadRegistriesConf(files.registries_conf));
  if (const RegistryEntry* block = FindBlock(conf, reference)) {
    return PermissionDenied(fmt::format("registry {} is blocked by {}", block->prefix, block->where));
  }
  const RegistryEntry* entry = FindEntry(conf, reference);
  Plan plan;
  if (Decides(own, reference.domain())) {
    ASSIGN_OR_RETURN(plan.endpoints, EndpointsFor(reference, own));
    return plan;
  }
  for (const Which which : {Which::kNamed, Which::kDefault}) {
    if (which == Which::kDefault && entry != nullptr) return PlanOf(*entry, reference, own);
    ASSIGN_OR_RETURN(auto hosts, LoadHostsToml(files.hosts_dirs, reference, own, which));
    if (hosts.has_value()) {
      plan.endpoints = std::move(*hosts);
      return plan;
    }
  }
  plan.endpoints.push_back(RegistryEndpoint(reference, own));
  return plan;
}

}  // namespace

Result<Plan> MakePlan(const Files& files, const image::HostMap& own, const image::Reference& reference) {
  Result<Plan> plan = Choose(files, own, reference);
  for (size_t i = 0; plan.ok() && i < plan->endpoints.size(); ++i) {
    if (Status added = AddCertificates(files.hosts_dirs, plan->endpoints[i]); !added.ok()) plan = added;
  }
  // What the node's files say is not the client's fault.
  if (plan.code() == StatusCode::kInvalidArgument) return FailedPrecondition(plan.status().message());
  return plan;
}

}  // namespace davit::registries
