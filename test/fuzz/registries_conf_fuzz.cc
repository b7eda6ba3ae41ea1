// registries.conf: what is read has a meaning for every name, and a rewritten name keeps what the prefix did not cover.
#include <string>

#include "fuzz.h"
#include "registries/registries_conf.h"

namespace registries = davit::registries;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  davit::Result<registries::RegistriesConf> conf =
      registries::ParseRegistriesConf(davit::fuzz::View(data, size), "r.conf");
  if (!conf.ok()) {
    FUZZ_REQUIRE(conf.status().message().starts_with("r.conf"));
    return 0;
  }
  for (const registries::RegistryEntry& entry : conf->entries) {
    FUZZ_REQUIRE(!entry.prefix.empty() && entry.mirrors.size() <= registries::kMaxMirrors);
    const std::string bare = entry.prefix.starts_with("*.") ? "a" + entry.prefix.substr(1) : entry.prefix;
    const std::string name = bare + "/some/image";
    davit::Result<davit::image::Reference> reference = davit::image::Reference::Parse(name);
    if (reference.ok() && reference->Name() == name) {
      const registries::RegistryEntry* found = registries::FindEntry(*conf, *reference);
      FUZZ_REQUIRE(found != nullptr && found->prefix.size() + 1 >= entry.prefix.size());
      FUZZ_REQUIRE(registries::Rewrite(entry, entry.registry, *reference).ends_with("/some/image"));
      // Two entries may mean one host; the one that is written like the reference counts.
      if (found->blocked) FUZZ_REQUIRE(registries::FindBlock(*conf, *reference) != nullptr);
    }
    for (const registries::Location& mirror : entry.mirrors) FUZZ_REQUIRE(!mirror.location.empty());
  }
  registries::RegistriesConf twice = *conf;
  registries::Merge(twice, *conf);
  FUZZ_REQUIRE(twice.entries.size() == conf->entries.size());
  return 0;
}
