// hosts.toml: every endpoint is an http or https URL without a user, and no header breaks out of its line.
#include <string>

#include "fuzz.h"
#include "registries/hosts_toml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const davit::image::Reference reference = *davit::image::Reference::Parse("r.example:5000/a/b:1");
  auto endpoints = davit::registries::ParseHostsToml(davit::fuzz::View(data, size), "/d/h.toml", reference, {});
  if (!endpoints.ok()) {
    FUZZ_REQUIRE(endpoints.status().message().starts_with("/d/h.toml"));
    return 0;
  }
  FUZZ_REQUIRE(!endpoints->empty() && endpoints->size() <= davit::registries::kMaxHosts + 1);
  for (const davit::image::Endpoint& endpoint : *endpoints) {
    FUZZ_REQUIRE(endpoint.base.starts_with("http://") || endpoint.base.starts_with("https://"));
    FUZZ_REQUIRE(endpoint.base.find_first_of("@?#\r\n") == std::string::npos && !endpoint.base.ends_with('/'));
    FUZZ_REQUIRE(!endpoint.Host().empty() && endpoint.credentials.empty());
    for (const std::string& header : endpoint.headers) FUZZ_REQUIRE(header.find_first_of("\r\n") == std::string::npos);
    for (const std::string& file : endpoint.tls.ca_files) FUZZ_REQUIRE(file.starts_with('/'));
  }
  return 0;
}
