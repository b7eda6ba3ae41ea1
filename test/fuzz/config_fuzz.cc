// The administrator's file: what is accepted can be written out and read again, and no secret is in the text.
#include <string>

#include "config/config.h"
#include "fuzz.h"

namespace config = davit::config;

namespace {

void CheckRanges(const config::Config& c) {
  FUZZ_REQUIRE(c.root.front() == '/' && c.state.front() == '/');
  FUZZ_REQUIRE(c.stream.port >= 0 && c.stream.port <= 65535);
  FUZZ_REQUIRE(c.api.listen.front() == '/' && c.api.listen.size() < 108);
  FUZZ_REQUIRE(c.image.max_parallel_layers >= 1 && c.image.max_layer_bytes >= 1);
  for (const auto& handler : c.runtime.handlers) {
    FUZZ_REQUIRE(handler.first.find('/') == std::string::npos);  // becomes a directory
    FUZZ_REQUIRE(handler.second.path.empty() || handler.second.path.front() == '/');
  }
  for (const auto& registry : c.image.registries) {
    for (const std::string& mirror : registry.second.mirrors) FUZZ_REQUIRE(mirror.starts_with("http"));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  config::Config read;
  davit::Status status = config::Apply(read, text, "davit.toml");
  if (!status.ok()) {
    FUZZ_REQUIRE(status.message().starts_with("davit.toml"));
    return 0;
  }
  CheckRanges(read);
  std::string dump = config::Dump(read);
  config::Config again;
  FUZZ_REQUIRE(config::Apply(again, dump, "dump").ok());
  FUZZ_REQUIRE(config::Dump(again) == dump);
  for (const auto& registry : read.image.registries) {
    if (registry.second.password.empty()) continue;
    FUZZ_REQUIRE(again.image.registries.at(registry.first).password.Reveal() == "***");
  }
  return 0;
}
