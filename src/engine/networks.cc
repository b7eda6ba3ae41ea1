// The network verbs: networks themselves on a strand of their own, places of a pod on the pod's.

#include "engine/networks.h"

#include <algorithm>
#include <atomic>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "engine/state.h"
#include "pod/files.h"

namespace davit::engine {
namespace {

constexpr char kStrand[] = "networks";
constexpr std::chrono::seconds kNodeServersFor{5};  // laptops change their network

bool IsOn(const pod::NetworkEndpoint& endpoint, const std::string& network) {
  return endpoint.network == network || (endpoint.network.empty() && network == network::kDefaultNetwork);
}

std::string Describe(const pod::PodRecord& record) { return record.spec.name + " (" + record.id.Short() + ")"; }

}  // namespace

std::vector<NetworkMember> MembersOf(const Snapshot& view, const std::string& name) {
  std::vector<NetworkMember> members;
  for (const auto& [id, record] : view.pods()) {
    if (record->phase != pod::Phase::kReady) continue;
    for (const pod::AttachedEndpoint& endpoint : record->endpoints) {
      if (endpoint.network == name) members.push_back({id, endpoint});
    }
  }
  return members;
}

std::vector<PodPtr> HoldersOf(const Snapshot& view, const std::string& name) {
  std::vector<PodPtr> holders;
  for (const auto& [id, record] : view.pods()) {
    if (!record->spec.standalone || record->attachment.empty()) continue;
    Result<network::Attachment> attachment = network::Attachment::Parse(record->attachment);
    if (!attachment.ok()) continue;
    const bool on = std::any_of(attachment->endpoints.begin(), attachment->endpoints.end(),
                                [&](const auto& endpoint) { return endpoint.network == name; });
    if (on) holders.push_back(record);
  }
  return holders;
}

void Engine::CreateNetwork(network::NamedNetwork wanted, Done<NetworkView> done) {
  State* state = state_.get();
  state->Post(kStrand, [state, wanted = std::move(wanted), done = std::move(done)] {
    Result<network::NetworkPtr> made = state->named_networks->Create(wanted);
    if (made.ok()) state->TellOfNetwork("create", **made, {});
    done(made.ok() ? Result<NetworkView>(NetworkView{*made, {}}) : made.status().Annotate("create network"));
  });
}

Result<std::vector<NetworkView>> Engine::Networks(const std::vector<std::string>& names) const {
  std::vector<network::NetworkPtr> found;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(network::NetworkPtr network, state_->named_networks->Find(name));
    if (std::find(found.begin(), found.end(), network) == found.end()) found.push_back(std::move(network));
  }
  if (names.empty()) {
    const auto list = state_->named_networks->List();
    for (const auto& entry : *list) found.push_back(entry.second);
  }
  const SnapshotPtr view = View();
  std::vector<NetworkView> views;
  for (network::NetworkPtr& network : found) {
    std::vector<NetworkMember> members = MembersOf(*view, network->name);
    views.push_back({std::move(network), std::move(members)});
  }
  return views;
}

void Engine::RemoveNetwork(const std::string& text, Done<Nothing> done) {
  State* state = state_.get();
  state->verbs.Join("remove network " + text, std::move(done), [state, text](auto finish) {
    state->Post(kStrand, [state, text, finish] { state->RemoveNetworkNow(text, /*again=*/true, finish); });
  });
}

void Engine::State::RemoveNetworkNow(const std::string& text, bool again, const Finish& finish) {
  Result<network::NetworkPtr> found = text.empty() ? InvalidArgument("network is empty") : named_networks->Find(text);
  if (!found.ok()) return finish(found.status());
  const SnapshotPtr view = View();
  const std::vector<PodPtr> holders = HoldersOf(*view, (*found)->name);
  const bool busy = std::any_of(holders.begin(), holders.end(), [&](const PodPtr& pod) {
    const std::vector<ContainerPtr> inside = view.ContainersOf(pod->id);
    return std::any_of(inside.begin(), inside.end(),
                       [](const ContainerPtr& ctr) { return ctr->phase == container::Phase::kRunning; });
  });
  if (!holders.empty() && !busy && again) {
    // A client that saw a container end removes its network at once; the pod may just be going: it is let finish.
    auto left = std::make_shared<std::atomic<size_t>>(holders.size());
    for (const PodPtr& pod : holders) {
      Post(pod->id.str(), [this, text, finish, left] {
        if (--*left == 0) Post(kStrand, [this, text, finish] { RemoveNetworkNow(text, /*again=*/false, finish); });
      });
    }
    return;
  }
  if (!holders.empty()) {
    constexpr size_t kNamed = 10;
    std::vector<std::string> named;
    for (size_t i = 0; i < std::min(kNamed, holders.size()); ++i) named.push_back(Describe(*holders[i]));
    return finish(FailedPrecondition("network " + (*found)->name + " has active endpoints: pods " + Join(named, ", ") +
                                     (holders.size() > kNamed ? ", …" : "")));
  }
  Status removed = named_networks->Remove((*found)->name);
  if (removed.ok()) TellOfNetwork("destroy", **found, {});
  finish(ToResult(removed));
}

void Engine::State::TellOfNetwork(const std::string& action, const network::NamedNetwork& about, const PodId& pod) {
  std::map<std::string, std::string> attributes = about.labels;
  attributes["name"] = about.name;
  attributes["type"] = about.driver;
  if (pod.empty()) activity.Add({"network", action, about.id, 0, attributes, true});
  for (const ContainerPtr& container : pod.empty() ? std::vector<ContainerPtr>() : View().ContainersOf(pod)) {
    attributes["container"] = container->id.str();
    activity.Add({"network", action, about.id, 0, attributes, true});
  }
}

void Engine::ConnectNetwork(const std::string& container, pod::NetworkEndpoint endpoint, Done<Nothing> done) {
  state_->NetworkVerb("connect", endpoint.network, container, std::move(done),
                      [state = state_.get(), endpoint](const PodId& pod, const std::string& network) {
                        pod::NetworkEndpoint place = endpoint;
                        place.network = network;
                        return state->ConnectNow(pod, place);
                      });
}

void Engine::DisconnectNetwork(const std::string& network, const std::string& container, bool force,
                               Done<Nothing> done) {
  state_->NetworkVerb("disconnect", network, container, std::move(done),
                      [state = state_.get(), force](const PodId& pod, const std::string& name) {
                        return state->DisconnectNow(pod, name, force);
                      });
}

void Engine::State::NetworkVerb(const std::string& verb, const std::string& wanted, const std::string& container,
                                Done<Nothing> done,
                                std::function<Status(const PodId&, const std::string& network)> now) {
  Result<PodId> pod = PodNamed(container);
  Result<network::NetworkPtr> found = named_networks->Find(wanted);
  // A place on a network that is gone can still be given up.
  const std::string name = found.ok() ? (*found)->name : wanted;
  if (!found.ok() && verb != "disconnect") {
    done(found.status());
    return;
  }
  if (!pod.ok()) {
    done(pod.status());
    return;
  }
  const std::string intent = verb + " network " + name + " and pod " + pod->Short();
  verbs.Join(verb + " " + name + " " + pod->str(), std::move(done),
             [this, verb, pod = *pod, name, intent, now = std::move(now)](auto finish) {
               Post(pod.str(), [this, verb, pod, name, intent, finish, now] {
                 Status status = now(pod, name);
                 Result<network::NetworkPtr> about = named_networks->Find(name);
                 if (status.ok() && about.ok()) TellOfNetwork(verb, **about, pod);
                 finish(ToResult(status.Annotate(intent)));
               });
             });
}

Result<PodId> Engine::State::PodNamed(const std::string& text) const {
  Result<ContainerPtr> container = View().FindNamedContainer(text);
  if (container.ok()) return (*container)->pod;
  if (container.code() != StatusCode::kNotFound) return container.status();
  Result<PodPtr> pod = View().FindNamedPod(text);
  if (pod.ok()) return (*pod)->id;
  return container.status();
}

Status Engine::State::SettleNetworks(pod::PodSpec& spec) const {
  std::set<std::string> seen;
  for (pod::NetworkEndpoint& endpoint : spec.networks) {
    ASSIGN_OR_RETURN(network::NetworkPtr found, named_networks->Find(endpoint.network));
    endpoint.network = found->name;
    if (!seen.insert(found->name).second) {
      return InvalidArgument("network " + found->name + " is asked for twice");
    }
  }
  return {};
}

Status Engine::State::ConnectNow(const PodId& id, const pod::NetworkEndpoint& endpoint) {
  PodPtr current = Pod(id);
  if (!current) return NotFound("the pod is gone");
  if (!current->spec.standalone) return FailedPrecondition("the pod is not a standalone one");
  if (current->spec.network == pod::NamespaceMode::kNode) return FailedPrecondition("the pod is on the node's network");
  pod::PodRecord record = *current;
  if (record.spec.networks.empty() && !record.spec.no_network) record.spec.networks.emplace_back();
  const bool up = record.phase == pod::Phase::kReady;
  const auto same = std::find_if(record.spec.networks.begin(), record.spec.networks.end(),
                                 [&](const pod::NetworkEndpoint& other) { return IsOn(other, endpoint.network); });
  if (same != record.spec.networks.end()) {
    if (up) return AlreadyExists("the pod is on it already");
    // Of one that is not up it is its place, said anew: compose names the aliases of a service so.
    *same = endpoint;
    return records->Put(record);
  }
  record.spec.networks.push_back(endpoint);
  record.spec.no_network = false;
  network::Attachment present;
  if (up) {
    ASSIGN_OR_RETURN(present, network::Attachment::Parse(record.attachment));
  }
  const network::NetworkRequest request = sandboxes->RequestFor(record);
  // Also of one that is not up: what cannot be is told now.
  ASSIGN_OR_RETURN(network::Attachment planned,
                   pod_network->PlanFurther(request, pod::ToEndpointRequest(endpoint), present));
  if (!up) return records->Put(record);

  record.attachment = planned.ToJson();
  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("network.connect.intent");
  Result<network::Attachment> attached = pod_network->AttachFurther(request, planned, Deadline::After(kVerbBudget));
  Status status = attached.status();
  if (attached.ok()) {
    pod::SetAttachment(record, *attached);
    const bool fresh = attached->endpoints.back().dns && !record.resolver;
    if (fresh) status = sandboxes->UseResolver(record);
    if (fresh && status.ok()) status = OpenNames(record, fresh);
    if (status.ok()) {
      NoteHosts(record, current->ips);
      return records->Put(record);
    }
    planned.endpoints.back().leaving = true;
  }
  Result<network::Attachment> before = pod_network->DetachLeaving(request, planned, Deadline::After(kVerbBudget));
  pod::PodRecord undone = *current;
  if (before.ok()) pod::SetAttachment(undone, *before);
  if (!before.ok()) undone.attachment = planned.ToJson();  // it is owed, and paid when the pod stops
  return status.WithUndoError(before.status()).WithUndoError(records->Put(undone));
}

Status Engine::State::DisconnectNow(const PodId& id, const std::string& name, bool force) {
  PodPtr current = Pod(id);
  if (!current) return NotFound("the pod is gone");
  pod::PodRecord record = *current;
  std::vector<pod::NetworkEndpoint>& asked = record.spec.networks;
  if (asked.empty() && record.spec.standalone && !record.spec.no_network) asked.emplace_back();
  const size_t was = asked.size();
  std::erase_if(asked, [&](const pod::NetworkEndpoint& endpoint) { return IsOn(endpoint, name); });
  // A list without a network means the default one.
  if (asked.empty()) record.spec.no_network = true;
  ASSIGN_OR_RETURN(network::Attachment attachment, network::Attachment::Parse(record.attachment));
  bool leaves = false;
  for (network::EndpointAttachment& endpoint : attachment.endpoints) {
    if (endpoint.network != name) continue;
    endpoint.leaving = true;
    leaves = true;
  }
  if (asked.size() == was && !leaves) return FailedPrecondition("the pod is not on network " + name);
  if (record.phase != pod::Phase::kReady || !leaves) return records->Put(record);
  const network::NetworkRequest request = sandboxes->RequestFor(record);
  pod::SetAttachment(record, attachment);
  RETURN_IF_ERROR(records->Put(record));
  FaultPoint("network.disconnect.intent");
  Result<network::Attachment> rest = pod_network->DetachLeaving(request, attachment, Deadline::After(kVerbBudget));
  if (!rest.ok()) {
    // It is in the record as leaving: the pod's stop pays it.
    if (!force) return rest.status();
    LogWarning("pod {}: {}", id.Short(), rest.status().message());
    return {};
  }
  pod::SetAttachment(record, *rest);
  NoteHosts(record, current->ips);
  return records->Put(record);
}

// A name for itself that is old is no reason to undo a connection.
void Engine::State::NoteHosts(const pod::PodRecord& record, const std::vector<std::string>& ips_before) {
  Status status = sandboxes->UpdateHosts(record, ips_before);
  if (!status.ok()) LogWarning("pod {}: /etc/hosts: {}", record.id.Short(), status.message());
}

Status Engine::State::ResumeNetwork(const pod::PodRecord& pod) {
  if (!pod.spec.standalone) return {};
  ASSIGN_OR_RETURN(network::Attachment attachment, network::Attachment::Parse(pod.attachment));
  pod_network->Adopt(pod.id, attachment);
  const bool half = std::any_of(attachment.endpoints.begin(), attachment.endpoints.end(),
                                [](const auto& endpoint) { return endpoint.leaving || endpoint.result.empty(); });
  if (half) {
    pod::PodRecord record = pod;
    std::set<std::string> gone;
    for (const network::EndpointAttachment& endpoint : attachment.endpoints) {
      if (endpoint.leaving || endpoint.result.empty()) gone.insert(endpoint.network);
    }
    ASSIGN_OR_RETURN(attachment, pod_network->DetachLeaving(sandboxes->RequestFor(pod), std::move(attachment),
                                                            Deadline::After(kVerbBudget)));
    pod::SetAttachment(record, attachment);
    // A connection that was not finished was never answered.
    std::erase_if(record.spec.networks, [&](const pod::NetworkEndpoint& asked) {
      return std::any_of(gone.begin(), gone.end(), [&](const std::string& name) { return IsOn(asked, name); });
    });
    if (attachment.endpoints.empty()) record.spec.no_network = true;
    RETURN_IF_ERROR(records->Put(record));
  }
  return OpenNames(pod, /*fresh=*/false);
}

Status Engine::State::OpenNames(const pod::PodRecord& pod, bool fresh) {
  if (!pod.resolver) return {};
  return name_server->Open(pod.id, sandboxes->paths().Namespace(pod.id, "net"), fresh);
}

network::NameLookup Engine::State::LookupOfNames() {
  return {[this](const PodId& asker, const std::string& name) { return Names()->Find(asker, name); },
          [this](const PodId& asker, const network::Address& address) { return Names()->NamesOf(asker, address); },
          [this](const PodId& asker) { return ServersFor(asker); }};
}

std::shared_ptr<const NameIndex> Engine::State::Names() {
  const SnapshotPtr now = View();
  {
    std::lock_guard lock(names_lock);
    if (name_index && name_index->of() == now.operator->()) return name_index;
  }
  auto fresh = std::make_shared<const NameIndex>(now);
  std::lock_guard lock(names_lock);
  name_index = fresh;
  return fresh;
}

std::vector<std::string> Engine::State::ServersFor(const PodId& id) {
  const PodPtr pod = Pod(id);
  if (!pod) return {};
  // The way out is the network's: one that has none must not be left by questions either.
  const bool out =
      std::any_of(pod->endpoints.begin(), pod->endpoints.end(), [&](const pod::AttachedEndpoint& endpoint) {
        Result<network::NetworkPtr> found = named_networks->Find(endpoint.network);
        return !found.ok() || !(*found)->internal;
      });
  if (!out) return {};
  if (pod->spec.has_dns && !pod->spec.dns.servers.empty()) return pod->spec.dns.servers;
  const auto now = std::chrono::steady_clock::now();
  std::lock_guard lock(names_lock);
  if (node_servers.empty() || now - node_servers_read > kNodeServersFor) {
    node_servers = pod::NodeDns().servers;
    node_servers_read = now;
  }
  return node_servers;
}

}  // namespace davit::engine
