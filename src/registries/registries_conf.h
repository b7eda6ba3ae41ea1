// RegistriesConf: registries.conf of version 2, as podman, buildah and CRI-O read it: mirrors, rewritten and blocked
// registries, and what names without a registry mean.
//
// Keys of later versions are ignored, as there; a value of the wrong type, or an entry that contradicts itself, is an
// error that names file and line. Source: containers-registries.conf(5), containers-registries.conf.d(5).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/reference.h"
#include "image/short_names.h"

namespace davit::registries {

inline constexpr size_t kMaxEntries = 4096;  // [[registry]] tables, aliases, search registries: of each
inline constexpr size_t kMaxMirrors = 64;    // of one [[registry]]
inline constexpr size_t kMaxConfDropins = 256;

enum class Take { kAll, kDigests, kTags };  // which references a mirror is asked for

struct Location {
  std::string
      location;  // "host[:port][/path]"; empty: what the reference names (a prefix "*.domain" alone may have it)
  bool insecure = false;  // TLS without checking the certificate, and plain HTTP where there is no TLS
  Take take = Take::kAll;
};

// One [[registry]].
struct RegistryEntry {
  std::string prefix;  // "host[:port][/path]", a whole name with ":tag" or "@digest", or "*.domain"
  Location registry;
  std::vector<Location> mirrors;  // in order
  bool blocked = false;
  std::string where;  // "FILE:LINE"
};

enum class ShortNameMode { kPermissive, kEnforcing, kDisabled };

struct RegistriesConf {
  std::vector<RegistryEntry> entries;
  std::optional<std::vector<std::string>> search;  // unqualified-search-registries
  std::map<std::string, std::string> aliases;  // "name" -> "registry/repository"; empty: an alias that was taken back
  std::optional<ShortNameMode> mode;
};

// kInvalidArgument, also for version 1 of the format.
Result<RegistriesConf> ParseRegistriesConf(std::string_view text, const std::string& file);
// Of a later file: its entries replace those with the same prefix, its lists replace lists, its aliases are added.
void Merge(RegistriesConf& into, RegistriesConf later);
// `path`, if it is there, then the *.conf files of `path`.d in lexical order. "": nothing.
Result<RegistriesConf> LoadRegistriesConf(const std::string& path);

// What names without a registry mean: as the file says where it has unqualified-search-registries, else all are of
// `default_registry`. kFailedPrecondition naming a search registry that is no host.
Result<image::ShortNames> ShortNamesOf(const RegistriesConf& conf, const std::string& default_registry);

// The same of the file and its drop-ins, as they are now.
Result<image::ShortNames> LoadShortNames(const std::string& path, const std::string& default_registry);

// The entry with the longest prefix that the reference lies under, or null.
const RegistryEntry* FindEntry(const RegistriesConf& conf, const image::Reference& reference);
// The entry that blocks the reference, or null. Unlike FindEntry it knows a registry by any spelling of its host: in
// upper case, with the port that https has anyway, and Docker Hub by each of its names.
const RegistryEntry* FindBlock(const RegistriesConf& conf, const image::Reference& reference);
// "host[:port]/repository" of the reference with what the prefix stands for replaced by the location. A tag or digest
// of the location that is the reference's own is left out.
std::string Rewrite(const RegistryEntry& entry, const Location& location, const image::Reference& reference);

}  // namespace davit::registries
