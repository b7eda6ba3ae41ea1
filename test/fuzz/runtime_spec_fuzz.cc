// config.json of an OCI bundle: what is taken keeps its rules, and the writer gives back what the reader took.
#include <string>

#include "fuzz.h"
#include "oci/runtime_spec_reader.h"

namespace oci = davit::oci;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  auto spec = oci::ParseRuntimeSpec(text);
  if (!spec.ok()) {
    for (char c : spec.status().message()) FUZZ_REQUIRE(c >= 0x20 && c < 0x7f);
    return 0;
  }
  FUZZ_REQUIRE(!spec->process.args.empty() && spec->process.cwd[0] == '/');
  for (const oci::SpecMount& mount : spec->mounts) FUZZ_REQUIRE(mount.destination[0] == '/');
  for (const auto& [file, value] : spec->linux_.resources.unified) FUZZ_REQUIRE(file.find('/') == std::string::npos);
  for (const auto& [name, value] : spec->linux_.sysctl) FUZZ_REQUIRE(name.find("..") == std::string::npos);
  std::string written = oci::ToJson(*spec);
  auto again = oci::ParseRuntimeSpec(written);
  FUZZ_REQUIRE(again.ok());
  FUZZ_REQUIRE(oci::ToJson(*again) == written);
  return 0;
}
