#include "engine/name_index.h"

#include <algorithm>
#include <cctype>

namespace davit::engine {
namespace {

constexpr size_t kShortId = 12;  // as Docker shows ids, and names hosts

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

NameIndex::NameIndex(SnapshotPtr view) : view_(std::move(view)) {
  std::map<PodId, std::vector<std::string>> names;
  for (const auto& [id, container] : view_->containers()) {
    auto pod = view_->pods().find(container->pod);
    if (pod == view_->pods().end() || !pod->second->spec.standalone) continue;
    names[container->pod].push_back(Lower(container->spec.name));
    names[container->pod].push_back(id.str().substr(0, kShortId));
  }
  for (const auto& [id, pod] : view_->pods()) {
    if (pod->spec.standalone && pod->phase == pod::Phase::kReady) AddPod(*pod, names[id]);
  }
}

void NameIndex::AddPod(const pod::PodRecord& pod, const std::vector<std::string>& names) {
  for (const pod::AttachedEndpoint& endpoint : pod.endpoints) {
    if (!endpoint.dns) continue;
    places_[pod.id].push_back(endpoint.network);
    Zone& zone = zones_[endpoint.network];
    std::vector<std::string> all = names;
    if (!pod.spec.implicit) all.push_back(Lower(pod.spec.name));  // those of implicit ones are nobody's
    all.push_back(Lower(pod.hostname));
    for (const std::string& alias : endpoint.aliases) all.push_back(Lower(alias));
    for (const std::string& cidr : endpoint.ip_cidrs) {
      Result<network::Prefix> subnet = network::Prefix::Parse(cidr);
      std::optional<network::Address> address = network::Address::Parse(cidr.substr(0, cidr.find('/')));
      if (!subnet.ok() || !address) continue;
      if (std::find(zone.subnets.begin(), zone.subnets.end(), *subnet) == zone.subnets.end()) {
        zone.subnets.push_back(*subnet);
      }
      for (const std::string& name : all) {
        std::vector<network::Address>& known = zone.addresses[name];
        if (std::find(known.begin(), known.end(), *address) == known.end()) known.push_back(*address);
      }
      zone.names[*address] = all.front() + "." + endpoint.network;
    }
  }
}

std::optional<std::vector<network::Address>> NameIndex::Find(const PodId& asker, const std::string& name) const {
  auto places = places_.find(asker);
  if (places == places_.end() || name.empty()) return std::nullopt;
  std::optional<std::vector<network::Address>> found;
  for (const std::string& place : places->second) {
    const Zone& zone = zones_.at(place);
    auto it = zone.addresses.find(name);
    const std::string suffix = "." + Lower(place);
    if (it == zone.addresses.end() && name.ends_with(suffix)) {
      it = zone.addresses.find(name.substr(0, name.size() - suffix.size()));
    }
    if (it == zone.addresses.end()) continue;
    if (!found) found.emplace();
    found->insert(found->end(), it->second.begin(), it->second.end());
  }
  return found;
}

std::optional<std::vector<std::string>> NameIndex::NamesOf(const PodId& asker, const network::Address& address) const {
  auto places = places_.find(asker);
  if (places == places_.end()) return std::nullopt;
  std::optional<std::vector<std::string>> found;
  for (const std::string& place : places->second) {
    const Zone& zone = zones_.at(place);
    const bool inside = std::any_of(zone.subnets.begin(), zone.subnets.end(),
                                    [&](const network::Prefix& subnet) { return subnet.Contains(address); });
    if (!inside) continue;
    if (!found) found.emplace();
    auto it = zone.names.find(address);
    if (it != zone.names.end()) found->push_back(it->second);
  }
  return found;
}

}  // namespace davit::engine
