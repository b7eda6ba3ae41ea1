// How things look in answers: one function for each shape that several calls give.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "api/engine.h"
#include "api/exchange.h"
#include "davit/control/v1/networks.pb.h"
#include "davit/control/v1/volumes.pb.h"

namespace davit::api {

Reply JsonReply(const boost::json::value& value, int status = 200);
Reply EmptyReply(int status);  // 204, 304; also 200 and 201 without a body
// One record of a stream: JSON and a line feed.
std::string JsonLine(const boost::json::value& value);

template <class Strings>
boost::json::array StringArray(const Strings& strings) {
  boost::json::array out;
  for (const auto& text : strings) out.emplace_back(boost::json::string_view(text.data(), text.size()));
  return out;
}
template <class Map>
boost::json::object StringObject(const Map& map) {
  boost::json::object out;
  for (const auto& [key, value] : map) out[boost::json::string_view(key.data(), key.size())] = value;
  return out;
}
inline boost::json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// RFC 3339; Go's zero time for 0.
std::string GoTime(int64_t nanos);
inline constexpr char kGoZeroTime[] = "0001-01-01T00:00:00Z";
// "2 minutes", "About an hour", as Docker says how long something lasts.
std::string HumanDuration(int64_t seconds);

// ---- Containers ----
// "created", "running", …
std::string_view StateName(control::StandaloneState state);
// Whether its ports and addresses are its own; those of one that has ended are the next one's.
bool Up(const control::Container& container);
// "Up 2 minutes (healthy)", "Exited (1) 3 hours ago".
std::string StatusWords(const control::Container& container, int64_t now_nanos);
boost::json::object ContainerSummary(const Entry& entry);
boost::json::object LibpodSummary(const Entry& entry);
// The pod's infra container, that Davit has none of and clients count on.
std::string InfraId(const std::string& pod_id);
boost::json::object LibpodInfraSummary(const control::Pod& pod);
struct InspectContext {
  ApiVersion version;
  bool size = false;
  uint64_t writable_bytes = 0;
  boost::json::value image_config;  // of the image; null when it has gone
};
boost::json::object ContainerInspect(const Entry& entry, const InspectContext& context);
boost::json::object LibpodInspect(const Entry& entry, const InspectContext& context);
// "/libpod/pods": Created, Running, Degraded, Exited, …
std::string_view PodStateName(const control::Pod& pod, const std::vector<Entry>& members);

// "80/tcp".
std::string PortKey(const cri::PortMapping& port);
// {"80/tcp": [{"HostIp": …, "HostPort": "8080"}]}
boost::json::object PortBindings(const control::Pod& pod);
boost::json::object NetworkEndpoints(const Entry& entry);
// Of a pod's place on a network: 64 digits as its id and the network's have, and of no other place.
std::string EndpointId(std::string_view pod_id, std::string_view network_id);
// What the client asked for when it made the container: of Docker's or of Podman's API; null when it was neither.
boost::json::value OriginalRequest(const std::string& client_data, std::string_view flavour);

// ---- Images ----
boost::json::object ImageSummary(const control::StoredImage& image, bool libpod, ApiVersion version);
boost::json::object ImageInspect(const control::StoredImage& image, bool libpod, ApiVersion version);

// ---- Volumes, networks ----
boost::json::object VolumeObject(const control::Volume& volume, bool libpod);
boost::json::object NetworkObject(const control::Network& network, bool libpod);

}  // namespace davit::api
