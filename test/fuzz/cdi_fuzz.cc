// CDI specifications, as JSON and as YAML: what is taken obeys the specification, so that nothing of a file reaches
// the OCI runtime unchecked.
#include <string>

#include "container/cdi_spec.h"
#include "fuzz.h"

namespace container = davit::container;

namespace {

void CheckPath(const std::string& path) {
  FUZZ_REQUIRE(!path.empty() && path[0] == '/' && path.find('\0') == std::string::npos);
  FUZZ_REQUIRE((path + "/").find("/../") == std::string::npos);
}

void CheckEdits(const container::CdiEdits& edits) {
  for (const std::string& assignment : edits.env) {
    FUZZ_REQUIRE(assignment.find('=') != std::string::npos && assignment.find('\0') == std::string::npos);
  }
  for (const container::CdiDeviceNode& node : edits.device_nodes) {
    CheckPath(node.path);
    FUZZ_REQUIRE(node.permissions.find_first_not_of("rwm") == std::string::npos);
    FUZZ_REQUIRE(node.type == 0 || std::string_view("bcup").find(node.type) != std::string_view::npos);
  }
  for (const container::CdiMount& mount : edits.mounts) CheckPath(mount.container_path);
  for (const container::CdiHook& hook : edits.hooks) {
    FUZZ_REQUIRE(hook.path[0] == '/' && hook.timeout.value_or(1) > 0);
  }
}

void Fuzz(std::string_view text, container::CdiFormat format) {
  auto spec = container::ParseCdiSpec(text, format);
  if (!spec.ok()) {
    for (char c : spec.status().message()) FUZZ_REQUIRE(c >= 0x20 && c < 0x7f);
    return;
  }
  FUZZ_REQUIRE(!spec->devices.empty() && spec->devices.size() <= container::kMaxCdiDevices);
  CheckEdits(spec->edits);
  for (const container::CdiDevice& device : spec->devices) {
    CheckEdits(device.edits);
    auto name = container::ParseCdiName(spec->kind + "=" + device.name);
    FUZZ_REQUIRE(name.ok() && name->kind == spec->kind && name->device == device.name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  Fuzz(text, container::CdiFormat::kJson);
  Fuzz(text, container::CdiFormat::kYaml);
  return 0;
}
