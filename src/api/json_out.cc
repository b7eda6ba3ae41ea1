#include "api/json_out.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "base/time.h"
#include "oci/json.h"

namespace davit::api {

namespace json = boost::json;

Reply JsonReply(const json::value& value, int status) {
  Reply reply;
  reply.status = status;
  reply.body = JsonLine(value);
  return reply;
}

Reply EmptyReply(int status) {
  Reply reply;
  reply.status = status;
  reply.content_type.clear();
  return reply;
}

std::string JsonLine(const json::value& value) { return json::serialize(value) + "\n"; }

std::string GoTime(int64_t nanos) { return nanos == 0 ? kGoZeroTime : FormatRfc3339Nano(nanos); }

std::string HumanDuration(int64_t seconds) {
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return fmt::format("{} seconds", seconds);
  int64_t minutes = seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return fmt::format("{} minutes", minutes);
  int64_t hours = (seconds + 1800) / 3600;
  if (hours == 1) return "About an hour";
  if (hours < 48) return fmt::format("{} hours", hours);
  if (hours < 24 * 14) return fmt::format("{} days", hours / 24);
  if (hours < 24 * 60) return fmt::format("{} weeks", hours / 24 / 7);
  if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
  return fmt::format("{} years", hours / 24 / 365);
}

json::value OriginalRequest(const std::string& client_data, std::string_view flavour) {
  if (client_data.empty()) return nullptr;
  Result<json::value> data = oci::ParseJson(client_data);
  if (!data.ok() || !data->is_object()) return nullptr;
  const json::value* found = data->get_object().if_contains(View(flavour));
  return found == nullptr ? json::value(nullptr) : *found;
}

// ---- Volumes, networks ----

json::object VolumeObject(const control::Volume& volume, bool libpod) {
  json::object out = {{"Name", volume.name()},
                      {"Driver", volume.driver().empty() ? std::string("local") : volume.driver()},
                      {"Mountpoint", volume.mountpoint()},
                      {"CreatedAt", GoTime(volume.created_at())},
                      {"Labels", StringObject(volume.labels())},
                      {"Scope", "local"},
                      {"Options", StringObject(volume.options())}};
  if (libpod) {
    out["MountCount"] = volume.containers_size();
    out["NeedsCopyUp"] = volume.needs_copy_up();
    if (volume.anonymous()) out["Anonymous"] = true;
  }
  return out;
}

namespace {

json::object LibpodNetwork(const control::Network& network) {
  json::array subnets;
  for (const control::Subnet& subnet : network.subnets()) {
    json::object shown = {{"subnet", subnet.subnet()}, {"gateway", subnet.gateway()}};
    if (!subnet.range_start().empty() || !subnet.range_end().empty()) {
      shown["lease_range"] = {{"start_ip", subnet.range_start()}, {"end_ip", subnet.range_end()}};
    }
    subnets.push_back(std::move(shown));
  }
  // Podman's name of it.
  return {{"name", network.is_default() ? std::string("podman") : network.name()},
          {"id", network.id()},
          {"driver", network.driver()},
          {"network_interface", network.interface()},
          {"created", GoTime(network.created_at())},
          {"subnets", std::move(subnets)},
          {"ipv6_enabled", network.ipv6()},
          {"internal", network.internal()},
          {"dns_enabled", network.dns()},
          {"labels", StringObject(network.labels())},
          {"options", StringObject(network.options())},
          {"ipam_options", {{"driver", "host-local"}}}};
}

}  // namespace

json::object NetworkObject(const control::Network& network, bool libpod) {
  if (libpod) return LibpodNetwork(network);
  json::array ranges;
  for (const control::Subnet& subnet : network.subnets()) {
    json::object range = {{"Subnet", subnet.subnet()}, {"Gateway", subnet.gateway()}};
    ranges.push_back(std::move(range));
  }
  return {{"Name", network.is_default() ? std::string("bridge") : network.name()},
          {"Id", network.id()},
          {"Created", GoTime(network.created_at())},
          {"Scope", "local"},
          {"Driver", network.driver()},
          {"EnableIPv4", true},
          {"EnableIPv6", network.ipv6()},
          {"IPAM", {{"Driver", "default"}, {"Options", json::object()}, {"Config", std::move(ranges)}}},
          {"Internal", network.internal()},
          {"Attachable", false},
          {"Ingress", false},
          {"ConfigFrom", {{"Network", ""}}},
          {"ConfigOnly", false},
          {"Containers", json::object()},
          {"Options", StringObject(network.options())},
          {"Labels", StringObject(network.labels())}};
}

}  // namespace davit::api
