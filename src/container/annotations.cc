#include "container/annotations.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/strings.h"

namespace davit::container {
namespace {

constexpr int64_t kMaxShm = int64_t{1} << 40;
constexpr size_t kMaxText = 4096;

enum class Kind { kUmask, kShmSize, kDevices };
struct Known {
  std::string_view name;
  Kind kind;
};
constexpr std::array<Known, 6> kKnown = {{
    {"umask.crio.io", Kind::kUmask},
    {"io.kubernetes.cri-o.umask", Kind::kUmask},
    {"shm-size.crio.io", Kind::kShmSize},
    {"io.kubernetes.cri-o.ShmSize", Kind::kShmSize},
    {"devices.crio.io", Kind::kDevices},
    {"io.kubernetes.cri-o.Devices", Kind::kDevices},
}};

bool Contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

Result<uint32_t> ParseUmask(const std::string& text) {
  uint32_t value = 0;
  bool good = !text.empty() && text.size() <= 5;
  for (char c : text) {
    good = good && c >= '0' && c <= '7';
    value = value * 8 + static_cast<uint32_t>(c - '0');
  }
  if (!good || value > 0777) return InvalidArgument("is no octal number up to 0777");
  return value;
}

Result<int64_t> ParseSize(const std::string& text) {
  static constexpr std::array<std::pair<std::string_view, int>, 6> kUnits = {
      {{"Ki", 10}, {"Mi", 20}, {"Gi", 30}, {"k", 10}, {"m", 20}, {"g", 30}}};
  std::string_view digits = text;
  int shift = 0;
  for (const auto& [unit, bits] : kUnits) {
    if (!digits.ends_with(unit)) continue;
    digits.remove_suffix(unit.size());
    shift = bits;
    break;
  }
  std::optional<uint64_t> number = ParseUint64(digits);
  if (!number || *number == 0 || *number > static_cast<uint64_t>(kMaxShm) >> shift) {
    return InvalidArgument("is no size between 1 byte and 1 TiB");
  }
  return static_cast<int64_t>(*number << shift);
}

Result<std::vector<Device>> ParseDevices(const std::string& text, const HandlerSettings& handler) {
  std::vector<Device> devices;
  for (const std::string& entry : Split(text, ',')) {
    std::vector<std::string> parts = Split(Trim(entry), ':');
    if (parts.size() > 3 || parts[0].empty() || parts[0][0] != '/') {
      return InvalidArgument("is no list of /dev/HOST[:/dev/CONTAINER[:rwm]]");
    }
    Device device{parts[0], parts[0], ""};
    // "/dev/fuse:rw" is the short form of "/dev/fuse:/dev/fuse:rw".
    if (parts.size() == 2 && parts[1].find('/') == std::string::npos) {
      device.permissions = parts[1];
    } else if (parts.size() >= 2) {
      device.container_path = parts[1];
    }
    if (parts.size() == 3) device.permissions = parts[2];
    // By exact name: nothing that needs resolving.
    if (!Contains(handler.allowed_devices, device.host_path)) {
      return PermissionDenied("asks for " + Printable(device.host_path) +
                              ", which is not in allowed_devices of the runtime handler");
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

Status Apply(const Known& known, const std::string& text, const HandlerSettings& handler,
             AnnotationSettings& settings) {
  if (text.size() > kMaxText) return InvalidArgument("is longer than 4096 bytes");
  switch (known.kind) {
    case Kind::kUmask: {
      ASSIGN_OR_RETURN(settings.umask, ParseUmask(text));
      break;
    }
    case Kind::kShmSize: {
      ASSIGN_OR_RETURN(settings.shm_bytes, ParseSize(text));
      break;
    }
    case Kind::kDevices: {
      ASSIGN_OR_RETURN(settings.devices, ParseDevices(text, handler));
      break;
    }
  }
  return {};
}

const std::string* Find(const Labels& labels, std::string_view name) {
  auto it = labels.find(std::string(name));
  return it == labels.end() ? nullptr : &it->second;
}

}  // namespace

std::vector<std::string> SupportedAnnotations() {
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.emplace_back(known.name);
  return names;
}

Result<AnnotationSettings> ReadAnnotations(const HandlerSettings& handler, const Labels& pod, const Labels& container) {
  AnnotationSettings settings;
  // From the weaker word to the stronger: the pod's, then the container's; the old name, then the new.
  for (const Labels* labels : {&pod, &container}) {
    for (auto known = kKnown.rbegin(); known != kKnown.rend(); ++known) {
      const std::string* text = Find(*labels, known->name);
      if (text == nullptr || !Contains(handler.allowed_annotations, known->name)) continue;
      Status applied = Apply(*known, *text, handler, settings);
      if (!applied.ok()) {
        return Status(applied.code(),
                      "annotation " + std::string(known->name) + " \"" + Printable(*text) + "\" " + applied.message());
      }
    }
  }
  return settings;
}

}  // namespace davit::container
