#include "cli/ps_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "base/time.h"
#include "cli/format.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;
namespace cri = ::runtime::v1;

constexpr size_t kCommandWidth = 20;

// "2 minutes" of "2 minutes ago".
std::string For(int64_t now, int64_t then) {
  std::string text = Ago(now, then);
  if (text == "just now") return "less than a second";
  return text.ends_with(" ago") ? text.substr(0, text.size() - 4) : text;
}

bool ImageHolds(const control::Container& one, const std::string& wanted) {
  const std::string& name = one.image();
  const std::string id = one.image_id().starts_with("sha256:") ? one.image_id().substr(7) : one.image_id();
  return name == wanted || name.starts_with(wanted + ":") || name.ends_with("/" + wanted) ||
         name.find("/" + wanted + ":") != std::string::npos || one.image_id() == wanted ||
         (wanted.size() >= 4 && id.starts_with(wanted));
}

}  // namespace

std::string StateName(const control::Container& container) {
  switch (container.state()) {
    case control::STATE_CREATED:
      return "created";
    case control::STATE_RUNNING:
      return "running";
    case control::STATE_PAUSED:
      return "paused";
    case control::STATE_RESTARTING:
      return "restarting";
    case control::STATE_REMOVING:
      return "removing";
    case control::STATE_EXITED:
      return "exited";
    default:
      return "dead";
  }
}

std::string StatusCell(const control::Container& one, bool full, int64_t now) {
  auto since = [&](int64_t then) { return full ? "since " + FormatRfc3339Nano(then) : For(now, then); };
  auto ago = [&](int64_t then) { return full ? FormatRfc3339Nano(then) : Ago(now, then); };
  switch (one.state()) {
    case control::STATE_RUNNING:
    case control::STATE_PAUSED: {
      std::string text = "Up " + since(one.started_at());
      if (one.state() == control::STATE_PAUSED) return text + " (Paused)";
      return one.health().status().empty() ? text : text + " (" + one.health().status() + ")";
    }
    case control::STATE_RESTARTING:
      return fmt::format("Restarting ({}) {}", one.exit_code(), ago(one.finished_at()));
    case control::STATE_EXITED:
      return fmt::format("Exited ({}) {}", one.exit_code(), ago(one.finished_at()));
    case control::STATE_CREATED:
      return "Created";
    case control::STATE_REMOVING:
      return "Removal in progress";
    default:
      return "Dead";
  }
}

std::string CommandCell(const control::Container& one, bool full) {
  std::vector<std::string> words(one.command_line().begin(), one.command_line().end());
  if (words.empty()) {
    words.assign(one.config().command().begin(), one.config().command().end());
    words.insert(words.end(), one.config().args().begin(), one.config().args().end());
  }
  std::string text = Join(words, " ");
  if (!full && text.size() > kCommandWidth) {
    size_t cut = kCommandWidth - 1;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;  // not inside of a character
    text = text.substr(0, cut) + "…";
  }
  return text.empty() ? "" : "\"" + text + "\"";
}

std::string ProtocolWord(int protocol) { return protocol == cri::UDP ? "udp" : protocol == cri::SCTP ? "sctp" : "tcp"; }

std::string HostAddress(const cri::PortMapping& port) {
  std::string address = port.host_ip().empty() ? "0.0.0.0" : port.host_ip();
  if (address.find(':') != std::string::npos) address = "[" + address + "]";
  return fmt::format("{}:{}", address, port.host_port());
}

std::string PortsCell(const control::Pod& pod) {
  std::vector<std::string> cells;
  // Of a pod that does not run: what it asks for, as far as that is known.
  for (const cri::PortMapping& port : pod.ready() ? pod.ports() : pod.config().port_mappings()) {
    std::string inside = fmt::format("{}/{}", port.container_port(), ProtocolWord(port.protocol()));
    if (pod.ready() && port.host_port() != 0) cells.push_back(HostAddress(port) + "->" + inside);
  }
  return Join(cells, ", ");
}

std::string PodCell(const control::Pod& pod) {
  if (!pod.standalone()) return fmt::format("kubelet: {}/{}", pod.config().metadata().namespace_(), pod.name());
  return pod.implicit() ? "" : pod.name();
}

const std::vector<std::string>& PsFilterKeys() {
  static const std::vector<std::string> keys = {"id",     "name",    "label",  "status",    "ancestor",
                                                "pod",    "network", "volume", "health",    "exited",
                                                "before", "since",   "until",  "standalone"};
  return keys;
}

Result<PsFilter> PsFilter::Make(const Filters& filters, const control::ListContainersAllResponse& list) {
  PsFilter out;
  out.filters_ = filters;
  for (const control::Pod& pod : list.pods()) {
    out.pod_of_[pod.id()] = pod.name();
    for (const control::NetworkEndpoint& network : pod.networks()) out.networks_.emplace(pod.id(), network.network());
  }
  auto wrong = [](const std::string& key, const std::string& value, std::string_view why) {
    return InvalidArgument(fmt::format("--filter \"{}={}\": {}", key, Printable(value), why));
  };
  static const std::vector<std::string> kStates = {"created",  "running", "paused", "restarting",
                                                   "removing", "exited",  "dead"};
  for (const auto& [key, value] : filters) {
    if (key == "status" && std::find(kStates.begin(), kStates.end(), value) == kStates.end()) {
      return wrong(key, value, Join(kStates, ", "));
    }
    if (key == "exited" && !ParseInt64(value)) return wrong(key, value, "is no exit code");
    if (key == "standalone" && value != "true" && value != "false") return wrong(key, value, "true or false");
    if (key == "until") {
      ASSIGN_OR_RETURN(out.moments_[value], ParseMoment(value, "--filter until", WallNanos()));
    }
    if (key != "before" && key != "since") continue;
    const auto other = std::find_if(list.containers().begin(), list.containers().end(), [&](const auto& one) {
      return one.name() == value || one.id().starts_with(value);
    });
    if (other == list.containers().end()) return NotFound("no container \"" + Printable(value) + "\"");
    out.moments_[value] = other->created_at();
  }
  return out;
}

bool PsFilter::Holds(const std::string& key, const std::string& value, const control::Container& one) const {
  if (key == "id") return one.id().starts_with(value);
  if (key == "name") return one.name().find(value) != std::string::npos;
  if (key == "label") return LabelHolds(one.config().labels(), value);
  if (key == "status") return StateName(one) == value;
  if (key == "ancestor") return ImageHolds(one, value);
  if (key == "exited") return one.state() == control::STATE_EXITED && std::to_string(one.exit_code()) == value;
  if (key == "health") return (one.health().status().empty() ? "none" : one.health().status()) == value;
  if (key == "standalone") return one.standalone() == (value == "true");
  if (key == "before" || key == "until") return one.created_at() < moments_.at(value);
  if (key == "since") return one.created_at() > moments_.at(value);
  if (key == "volume") {
    return std::any_of(one.volumes().begin(), one.volumes().end(), [&](const control::NamedVolume& volume) {
      return volume.name() == value || volume.container_path() == value;
    });
  }
  if (key == "pod") {
    auto pod = pod_of_.find(one.pod_id());
    return one.pod_id().starts_with(value) || (pod != pod_of_.end() && pod->second == value);
  }
  auto [first, last] = networks_.equal_range(one.pod_id());
  return std::any_of(first, last, [&](const auto& pair) { return pair.second == value; });
}

bool PsFilter::Matches(const control::Container& one) const {
  return cli::Matches(filters_,
                      [&](const std::string& key, const std::string& value) { return Holds(key, value, one); });
}

}  // namespace davit::cli
