#include "cli/container_json.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/strings.h"
#include "base/time.h"
#include "cli/ps_table.h"
#include "davit/control/v1/files.pb.h"
#include "davit/control/v1/networks.pb.h"
#include "davit/control/v1/standalone.pb.h"
#include "davit/control/v1/volumes.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;
namespace cri = ::runtime::v1;
namespace json = boost::json;

std::string Time(int64_t nanos) { return nanos == 0 ? "0001-01-01T00:00:00Z" : FormatRfc3339Nano(nanos); }

template <class Words>
json::array Strings(const Words& words) {
  json::array out;
  for (const std::string& word : words) out.push_back(json::string(word));
  return out;
}

template <class Map>
json::object Pairs(const Map& map) {
  json::object out;
  for (const auto& [key, value] : map) out[key] = value;
  return out;
}

json::object State(const control::Container& one) {
  json::object out{{"Status", StateName(one)},
                   {"Running", one.state() == control::STATE_RUNNING || one.state() == control::STATE_PAUSED},
                   {"Paused", one.state() == control::STATE_PAUSED},
                   {"Restarting", one.state() == control::STATE_RESTARTING},
                   {"OOMKilled", one.oom_killed()},
                   {"Dead", one.state() == control::STATE_DEAD},
                   {"Pid", one.pid()},
                   {"ExitCode", one.exit_code()},
                   {"Error", one.error()},
                   {"StartedAt", Time(one.started_at())},
                   {"FinishedAt", Time(one.finished_at())}};
  if (one.health().status().empty()) return out;
  json::array log;
  for (const control::Health::Probe& probe : one.health().log()) {
    log.push_back(json::object{{"Start", Time(probe.start())},
                               {"End", Time(probe.end())},
                               {"ExitCode", probe.exit_code()},
                               {"Output", probe.output()}});
  }
  out["Health"] = json::object{
      {"Status", one.health().status()}, {"FailingStreak", one.health().failing_streak()}, {"Log", std::move(log)}};
  return out;
}

json::object Config(const control::Container& one, const control::Pod* pod) {
  const cri::ContainerConfig& config = one.config();
  json::array env;
  for (const cri::KeyValue& pair : config.envs()) env.push_back(json::string(pair.key() + "=" + pair.value()));
  const auto& security = config.linux().security_context();
  std::string user = security.run_as_username();
  if (security.has_run_as_user()) user = std::to_string(security.run_as_user().value());
  return {{"Hostname", pod == nullptr ? "" : pod->hostname()},
          {"User", user},
          {"Tty", config.tty()},
          {"OpenStdin", config.stdin()},
          {"StdinOnce", config.stdin_once()},
          {"Env", std::move(env)},
          {"Entrypoint", Strings(config.command())},
          {"Cmd", Strings(config.args())},
          {"Image", one.image()},
          {"WorkingDir", config.working_dir()},
          {"StopSignal", one.options().stop_signal()},
          {"Labels", Pairs(config.labels())},
          {"Annotations", Pairs(config.annotations())}};
}

json::object Ports(const control::Pod* pod) {
  json::object out;
  if (pod == nullptr) return out;
  for (const cri::PortMapping& port : pod->ports()) {
    std::string inside = fmt::format("{}/{}", port.container_port(), ProtocolWord(port.protocol()));
    json::object one{{"HostIp", port.host_ip().empty() ? "0.0.0.0" : port.host_ip()},
                     {"HostPort", std::to_string(port.host_port())}};
    if (!out.contains(inside)) out[inside] = json::array();
    out[inside].as_array().push_back(std::move(one));
  }
  return out;
}

json::object HostConfig(const control::Container& one, const control::Pod* pod) {
  const auto& resources = one.config().linux().resources();
  const auto& security = one.config().linux().security_context();
  json::array ulimits;
  for (const control::Ulimit& limit : one.options().ulimits()) {
    ulimits.push_back(json::object{{"Name", limit.name()}, {"Soft", limit.soft()}, {"Hard", limit.hard()}});
  }
  json::object out{{"AutoRemove", one.options().auto_remove()},
                   {"Init", one.options().init()},
                   {"Privileged", security.privileged()},
                   {"ReadonlyRootfs", security.readonly_rootfs()},
                   {"Memory", resources.memory_limit_in_bytes()},
                   {"MemorySwap", resources.memory_swap_limit_in_bytes()},
                   {"CpuShares", resources.cpu_shares()},
                   {"CpuPeriod", resources.cpu_period()},
                   {"CpuQuota", resources.cpu_quota()},
                   {"CpusetCpus", resources.cpuset_cpus()},
                   {"CpusetMems", resources.cpuset_mems()},
                   {"Ulimits", std::move(ulimits)},
                   {"Runtime", one.runtime_handler()}};
  const control::RestartPolicy& policy = one.options().restart();
  out["RestartPolicy"] = json::object{{"Name", policy.name().empty() ? "no" : policy.name()},
                                      {"MaximumRetryCount", policy.maximum_retries()}};
  if (pod != nullptr) out["ExtraHosts"] = Strings(pod->options().extra_hosts());
  return out;
}

json::object NetworkSettings(const control::Pod* pod) {
  json::object networks;
  std::string first = pod == nullptr || pod->ips().empty() ? "" : pod->ips(0);
  if (pod != nullptr) {
    for (const control::NetworkEndpoint& one : pod->networks()) {
      std::string cidr = one.ip_cidrs().empty() ? "" : one.ip_cidrs(0);
      networks[one.network()] = json::object{{"IPAddress", cidr.substr(0, cidr.find('/'))},
                                             {"Addresses", Strings(one.ip_cidrs())},
                                             {"Gateway", one.gateway()},
                                             {"MacAddress", one.mac_address()},
                                             {"Interface", one.interface()},
                                             {"Aliases", Strings(one.aliases())}};
    }
  }
  return {{"IPAddress", first},
          {"IPs", pod == nullptr ? json::array() : Strings(pod->ips())},
          {"Ports", Ports(pod)},
          {"SandboxKey", pod == nullptr ? "" : pod->netns_path()},
          {"Networks", std::move(networks)}};
}

json::array Mounts(const control::Container& one) {
  json::array out;
  for (const cri::Mount& mount : one.config().mounts()) {
    out.push_back(json::object{{"Type", "bind"},
                               {"Source", mount.host_path()},
                               {"Destination", mount.container_path()},
                               {"RW", !mount.readonly()}});
  }
  for (const control::NamedVolume& volume : one.volumes()) {
    out.push_back(json::object{{"Type", "volume"},
                               {"Name", volume.name()},
                               {"Destination", volume.container_path()},
                               {"RW", !volume.readonly()}});
  }
  return out;
}

void Write(std::string& out, const json::value& value, size_t depth) {
  const std::string inner(2 * (depth + 1), ' ');
  auto list = [&](char open, char close, const auto& items, const auto& item) {
    out += open;
    bool first = true;
    for (const auto& one : items) {
      out += first ? "\n" : ",\n";
      first = false;
      out += inner;
      item(one);
    }
    if (!first) out += "\n" + std::string(2 * depth, ' ');
    out += close;
  };
  if (const json::object* object = value.if_object()) {
    list('{', '}', *object, [&](const auto& pair) {
      out += json::serialize(json::string(pair.key())) + ": ";
      Write(out, pair.value(), depth + 1);
    });
  } else if (const json::array* array = value.if_array()) {
    list('[', ']', *array, [&](const json::value& one) { Write(out, one, depth + 1); });
  } else {
    out += json::serialize(value);
  }
}

// The value at ".A.B"; "." is the whole.
Result<json::value> At(const json::value& root, std::string_view path) {
  const json::value* at = &root;
  for (const std::string& key : Split(path.substr(1), '.')) {
    if (key.empty() && path == ".") break;
    const json::object* object = at->if_object();
    at = object == nullptr ? nullptr : object->if_contains(key);
    if (at == nullptr) return NotFound(fmt::format("--format: there is no {}", Printable(path)));
  }
  return *at;
}

}  // namespace

std::string ContainerJson(const control::Container& one, const control::Pod* pod) {
  json::array arguments;
  for (int i = 1; i < one.command_line_size(); ++i) arguments.push_back(json::string(one.command_line(i)));
  json::object out{{"Id", one.id()},
                   {"Name", one.name()},
                   {"Created", Time(one.created_at())},
                   {"Path", one.command_line().empty() ? "" : one.command_line(0)},
                   {"Args", std::move(arguments)},
                   {"State", State(one)},
                   {"Image", one.image_id()},
                   {"ImageName", one.image()},
                   {"Pod", one.pod_id()},
                   {"Standalone", one.standalone()},
                   {"LogPath", one.log_path()},
                   {"CgroupPath", one.cgroup()},
                   {"RestartCount", one.restart_count()},
                   {"Driver", "overlay"},
                   {"GraphDriver",
                    json::object{{"Name", "overlay"}, {"Data", json::object{{"UpperDir", one.writable_directory()}}}}},
                   {"Mounts", Mounts(one)},
                   {"Config", Config(one, pod)},
                   {"HostConfig", HostConfig(one, pod)},
                   {"NetworkSettings", NetworkSettings(pod)}};
  return json::serialize(out);
}

std::string PodJson(const control::Pod& pod, const std::string& containers_json) {
  json::object out{{"Id", pod.id()},
                   {"Name", pod.name()},
                   {"Namespace", pod.config().metadata().namespace_()},
                   {"Standalone", pod.standalone()},
                   {"Created", Time(pod.created_at())},
                   {"State", pod.ready()          ? "Running"
                             : pod.started_once() ? "Stopped"
                                                  : "Created"},
                   {"Hostname", pod.hostname()},
                   {"CgroupPath", pod.cgroup()},
                   {"Runtime", pod.runtime_handler()},
                   {"Labels", Pairs(pod.config().labels())},
                   {"Annotations", Pairs(pod.config().annotations())},
                   {"NetworkSettings", NetworkSettings(&pod)}};
  json::error_code error;
  out["Containers"] = json::parse(containers_json, error);
  return json::serialize(out);
}

std::string ImageJson(const control::StoredImage& image) {
  json::error_code error;
  json::value config = json::parse(image.config_json(), error);
  json::object out{{"Id", image.id()},
                   {"RepoTags", Strings(image.tags())},
                   {"RepoDigests", Strings(image.digests())},
                   {"Created", Time(image.created_at())},
                   {"Size", image.size()},
                   {"Architecture", image.architecture()},
                   {"Os", image.os()},
                   {"Variant", image.variant()},
                   {"Digest", image.manifest_digest()},
                   {"Containers", image.containers()},
                   {"RootFS", json::object{{"Type", "layers"}, {"Layers", Strings(image.layers())}}}};
  const json::object* object = error ? nullptr : config.if_object();
  for (const auto& [from, to] :
       {std::pair("config", "Config"), std::pair("author", "Author"), std::pair("history", "History")}) {
    const json::value* found = object == nullptr ? nullptr : object->if_contains(from);
    out[to] = found == nullptr ? json::value(nullptr) : *found;
  }
  return json::serialize(out);
}

std::string VolumeJson(const control::Volume& volume) {
  return json::serialize(json::object{{"Name", volume.name()},
                                      {"Driver", volume.driver()},
                                      {"Mountpoint", volume.mountpoint()},
                                      {"CreatedAt", Time(volume.created_at())},
                                      {"Labels", Pairs(volume.labels())},
                                      {"Options", Pairs(volume.options())},
                                      {"Anonymous", volume.anonymous()},
                                      {"Containers", Strings(volume.containers())},
                                      {"Scope", "local"}});
}

std::string NetworkJson(const control::Network& network) {
  json::array subnets;
  for (const control::Subnet& subnet : network.subnets()) {
    subnets.push_back(json::object{{"Subnet", subnet.subnet()}, {"Gateway", subnet.gateway()}});
  }
  json::object members;
  for (const control::Network::Member& member : network.members()) {
    members[member.pod_id()] = json::object{{"Addresses", Strings(member.ip_cidrs())},
                                            {"MacAddress", member.mac_address()},
                                            {"Interface", member.interface()}};
  }
  return json::serialize(json::object{{"Id", network.id()},
                                      {"Name", network.name()},
                                      {"Driver", network.driver()},
                                      {"Created", Time(network.created_at())},
                                      {"Interface", network.interface()},
                                      {"Internal", network.internal()},
                                      {"EnableIPv6", network.ipv6()},
                                      {"DNS", network.dns()},
                                      {"Default", network.is_default()},
                                      {"IPAM", json::object{{"Config", std::move(subnets)}}},
                                      {"Labels", Pairs(network.labels())},
                                      {"Options", Pairs(network.options())},
                                      {"Pods", std::move(members)}});
}

std::string Indented(const std::string& text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error) return text;
  std::string out;
  Write(out, value, 0);
  return out;
}

Result<std::string> Formatted(const std::string& text, const std::string& format) {
  json::error_code error;
  json::value root = json::parse(text, error);
  std::string out;
  size_t at = 0;
  for (;;) {
    size_t open = format.find("{{", at);
    out += format.substr(at, open - at);
    if (open == std::string::npos) return out;
    size_t close = format.find("}}", open);
    std::string_view inside =
        Trim(std::string_view(format).substr(open + 2, close == std::string::npos ? 0 : close - open - 2));
    const bool as_json = inside.starts_with("json ");
    if (as_json) inside = Trim(inside.substr(5));
    if (close == std::string::npos || !inside.starts_with(".") || inside.find(' ') != std::string_view::npos) {
      return InvalidArgument(fmt::format(
          "--format \"{}\": only {{{{.Key.Key}}}} and {{{{json .Key}}}} are understood (-o json and jq do all else)",
          Printable(format)));
    }
    ASSIGN_OR_RETURN(json::value value, At(root, inside));
    out += !as_json && value.is_string() ? std::string(value.get_string()) : json::serialize(value);
    at = close + 2;
  }
}

}  // namespace davit::cli
