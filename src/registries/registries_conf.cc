#include "registries/registries_conf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/strings.h"
#include "config/config.h"
#include "registries/read_file.h"
#include "registries/toml_values.h"

namespace davit::registries {
namespace {

bool IsShortName(const std::string& text) {
  Result<image::Reference> name = image::Reference::Parse(text);
  return name.ok() && !image::Reference::HasRegistry(text) && text.find_first_of(":@") == std::string::npos;
}
bool HasTagOrDigest(std::string_view name) {
  const size_t slash = name.rfind('/');
  return name.find_first_of(":@", slash == std::string_view::npos ? 0 : slash) != std::string_view::npos;
}
bool IsFullName(const std::string& text) {
  return image::Reference::Parse(text).ok() && image::Reference::HasRegistry(text) && !HasTagOrDigest(text);
}

class Reader : private TomlValues {
 public:
  explicit Reader(std::string file) : TomlValues(std::move(file)) {}

  Result<RegistriesConf> Read(const toml::table& root) {
    RegistriesConf out;
    if (const toml::node* old = root.get("registries")) {
      return Wrong(*old, "registries: this is version 1 of the format; write [[registry]] tables of version 2");
    }
    if (const toml::node* node = root.get("unqualified-search-registries")) {
      ASSIGN_OR_RETURN(out.search, Strings(*node, "unqualified-search-registries"));
    }
    if (const toml::node* node = root.get("short-name-mode")) {
      ASSIGN_OR_RETURN(std::string mode, Text(*node, "short-name-mode"));
      if (mode == "enforcing") {
        out.mode = ShortNameMode::kEnforcing;
      } else if (mode == "permissive" || mode.empty()) {
        out.mode = ShortNameMode::kPermissive;
      } else if (mode == "disabled") {
        out.mode = ShortNameMode::kDisabled;
      } else {
        return Wrong(*node, fmt::format("short-name-mode: \"{}\" is none of enforcing, permissive and disabled",
                                        Printable(mode, 64)));
      }
    }
    if (const toml::node* node = root.get("aliases")) {
      const toml::table* table = node->as_table();
      if (table == nullptr) return Wrong(*node, "aliases: expected a table");
      if (table->size() > kMaxEntries) return Wrong(*node, fmt::format("aliases: more than {}", kMaxEntries));
      for (const auto& [key, value] : *table) {
        const std::string name(key.str());
        ASSIGN_OR_RETURN(std::string target, Text(value, "aliases"));
        if (!IsShortName(name)) {
          return Wrong(value,
                       fmt::format("aliases: \"{}\" is no name without a registry and a tag", Printable(name, 300)));
        }
        if (!target.empty() && !IsFullName(target)) {
          return Wrong(value, fmt::format("aliases: {} = \"{}\": write host[:port]/repository, without a tag", name,
                                          Printable(target, 300)));
        }
        out.aliases[name] = std::move(target);
      }
    }
    if (const toml::node* node = root.get("registry")) RETURN_IF_ERROR(Entries(*node, out.entries));
    return out;
  }

 private:
  Status Entries(const toml::node& node, std::vector<RegistryEntry>& out) {
    const toml::array* tables = node.as_array();
    if (tables == nullptr) return Wrong(node, "registry: expected [[registry]] tables");
    if (tables->size() > kMaxEntries) return Wrong(node, fmt::format("registry: more than {} tables", kMaxEntries));
    for (const toml::node& item : *tables) {
      const toml::table* table = item.as_table();
      if (table == nullptr) return Wrong(item, "registry: expected a table");
      ASSIGN_OR_RETURN(RegistryEntry entry, Entry(*table));
      auto same = std::find_if(out.begin(), out.end(), [&](const auto& other) { return other.prefix == entry.prefix; });
      if (same == out.end()) {
        out.push_back(std::move(entry));
        continue;
      }
      if (same->blocked != entry.blocked || same->registry.insecure != entry.registry.insecure ||
          same->registry.location != entry.registry.location) {
        return InvalidArgument(
            fmt::format("{}: registry {} says otherwise than {}", entry.where, entry.prefix, same->where));
      }
    }
    return {};
  }

  Result<RegistryEntry> Entry(const toml::table& table) {
    RegistryEntry out;
    out.where = fmt::format("{}:{}", file(), table.source().begin.line);
    ASSIGN_OR_RETURN(out.prefix, TextAt(table, "prefix"));
    ASSIGN_OR_RETURN(out.registry, At(table));
    ASSIGN_OR_RETURN(out.blocked, FlagAt(table, "blocked"));
    ASSIGN_OR_RETURN(const bool digests, FlagAt(table, "mirror-by-digest-only"));
    if (out.prefix.empty()) out.prefix = out.registry.location;
    while (out.prefix.ends_with('/')) out.prefix.pop_back();
    // References say docker.io for it.
    constexpr std::string_view kOldHub = "index.docker.io";
    if (out.prefix == kOldHub || out.prefix.starts_with(std::string(kOldHub) + "/")) {
      out.prefix = "docker.io" + out.prefix.substr(kOldHub.size());
    }
    if (out.prefix.empty()) return Wrong(table, "registry: it has neither a prefix nor a location");
    const bool wild = out.prefix.starts_with("*.");
    if (wild && (out.prefix.size() == 2 || out.prefix.find_first_of("/:@*", 1) != std::string::npos)) {
      return Wrong(table,
                   fmt::format("prefix \"{}\": a wildcard stands for the subdomains of one domain, *.example.com",
                               Printable(out.prefix, 300)));
    }
    if (!wild && out.prefix.find('*') != std::string::npos) {
      return Wrong(table, fmt::format("prefix \"{}\": a wildcard may only be its beginning, *.example.com",
                                      Printable(out.prefix, 300)));
    }
    if (!wild && out.registry.location.empty()) {
      return Wrong(table, fmt::format("registry \"{}\" has no location", Printable(out.prefix, 300)));
    }
    const toml::node* mirrors = table.get("mirror");
    if (mirrors == nullptr) return out;
    const toml::array* tables = mirrors->as_array();
    if (tables == nullptr) return Wrong(*mirrors, "mirror: expected [[registry.mirror]] tables");
    if (tables->size() > kMaxMirrors) return Wrong(*mirrors, fmt::format("more than {} mirrors", kMaxMirrors));
    for (const toml::node& item : *tables) {
      const toml::table* mirror = item.as_table();
      if (mirror == nullptr) return Wrong(item, "mirror: expected a table");
      ASSIGN_OR_RETURN(Location location, At(*mirror));
      if (location.location.empty()) return Wrong(item, "mirror: it has no location");
      ASSIGN_OR_RETURN(const std::string take, TextAt(*mirror, "pull-from-mirror"));
      if (digests) {
        if (!take.empty()) return Wrong(item, "pull-from-mirror: not together with mirror-by-digest-only");
        location.take = Take::kDigests;
      } else if (take == "digest-only") {
        location.take = Take::kDigests;
      } else if (take == "tag-only") {
        location.take = Take::kTags;
      } else if (!take.empty() && take != "all") {
        return Wrong(item, fmt::format("pull-from-mirror: \"{}\" is none of all, digest-only and tag-only",
                                       Printable(take, 64)));
      }
      out.mirrors.push_back(std::move(location));
    }
    return out;
  }

  Result<Location> At(const toml::table& table) {
    Location out;
    ASSIGN_OR_RETURN(out.location, TextAt(table, "location"));
    while (out.location.ends_with('/')) out.location.pop_back();
    if (out.location.find("://") != std::string::npos) {
      return Wrong(table,
                   fmt::format("location \"{}\" is a URL; write host[:port][/path]", Printable(out.location, 300)));
    }
    ASSIGN_OR_RETURN(out.insecure, FlagAt(table, "insecure"));
    return out;
  }

  Result<std::string> TextAt(const toml::table& table, std::string_view key) {
    const toml::node* node = table.get(key);
    return node == nullptr ? Result<std::string>(std::string()) : Text(*node, key);
  }
  Result<std::string> Text(const toml::node& node, std::string_view key) {
    ASSIGN_OR_RETURN(std::string text, String(node, key));
    if (text.size() > 1024 || HasControl(text)) return Wrong(node, fmt::format("{}: is no name", key));
    return text;
  }
  Result<std::vector<std::string>> Strings(const toml::node& node, std::string_view key) {
    const toml::array* array = node.as_array();
    if (array == nullptr) return Wrong(node, fmt::format("{}: expected a list", key));
    if (array->size() > kMaxEntries) return Wrong(node, fmt::format("{}: more than {}", key, kMaxEntries));
    std::vector<std::string> out;
    for (const toml::node& item : *array) {
      ASSIGN_OR_RETURN(std::string text, Text(item, key));
      out.push_back(std::move(text));
    }
    return out;
  }
};

// How much of `name` the prefix covers; 0: none.
size_t Covered(std::string_view prefix, std::string_view name) {
  if (prefix.starts_with("*.")) {
    std::string_view host = name.substr(0, name.find('/'));
    const std::string_view bare = host.substr(0, host.find(':'));
    const std::string_view domain = prefix.substr(1);
    return bare.size() > domain.size() && bare.ends_with(domain) ? host.size() : 0;
  }
  if (!name.starts_with(prefix)) return 0;
  return name.size() == prefix.size() || name[prefix.size()] == '/' ? prefix.size() : 0;
}

// "host/path" with one spelling for each host.
std::string WithPlainHost(std::string_view name) {
  const size_t slash = std::min(name.find('/'), name.size());
  std::string host(name.substr(0, slash));
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
  if (host.ends_with(":443")) host.resize(host.size() - 4);
  if (image::IsDockerHub(host)) host = "docker.io";
  return host + std::string(name.substr(slash));
}

// The star is no part of a name: "a.example" says more than "*.example".
size_t Weight(std::string_view prefix) { return prefix.size() - (prefix.starts_with('*') ? 1 : 0); }

bool Covers(const RegistryEntry& entry, const image::Reference& reference) {
  return Covered(entry.prefix, reference.Name()) != 0 ||
         (!reference.tag().empty() && entry.prefix == reference.TaggedName()) ||
         (!reference.digest().empty() && entry.prefix == reference.DigestedName());
}

}  // namespace

Result<RegistriesConf> ParseRegistriesConf(std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(toml::table root, config::ParseToml(text, file));
  return Reader(file).Read(root);
}

void Merge(RegistriesConf& into, RegistriesConf later) {
  for (RegistryEntry& entry : later.entries) {
    auto same = std::find_if(into.entries.begin(), into.entries.end(),
                             [&](const auto& other) { return other.prefix == entry.prefix; });
    if (same == into.entries.end()) {
      into.entries.push_back(std::move(entry));
    } else {
      *same = std::move(entry);
    }
  }
  if (later.search) into.search = std::move(later.search);
  if (later.mode) into.mode = later.mode;
  for (auto& [name, target] : later.aliases) into.aliases[name] = std::move(target);
}

Result<RegistriesConf> LoadRegistriesConf(const std::string& path) {
  RegistriesConf out;
  if (path.empty()) return out;
  std::vector<std::string> files = {path};
  const std::string directory = path + ".d";
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    if (it->path().extension() == ".conf" && !it->is_directory(gone)) files.push_back(it->path().string());
    if (files.size() > kMaxConfDropins) {
      return ResourceExhausted(fmt::format("{}: more than {} files", directory, kMaxConfDropins));
    }
  }
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    return FailedPrecondition(fmt::format("{}: {}", directory, error.message()));
  }
  std::sort(files.begin() + 1, files.end());
  for (const std::string& file : files) {
    Result<std::string> text = ReadRegularFile(file);
    if (text.code() == StatusCode::kNotFound) continue;
    if (!text.ok()) return text.status();
    ASSIGN_OR_RETURN(RegistriesConf read, ParseRegistriesConf(*text, file));
    Merge(out, std::move(read));
  }
  return out;
}

Result<image::ShortNames> ShortNamesOf(const RegistriesConf& conf, const std::string& default_registry) {
  if (!conf.search || conf.search->empty()) return image::ShortNames(default_registry);
  for (const std::string& registry : *conf.search) {
    Result<image::Reference> name = image::Reference::Parse(registry + "/a");
    if (name.ok() && image::Reference::HasRegistry(registry + "/a") && registry.find('/') == std::string::npos)
      continue;
    return FailedPrecondition(
        fmt::format("unqualified-search-registries: \"{}\" is no host[:port]", Printable(registry, 300)));
  }
  return image::ShortNames(*conf.search, conf.aliases, conf.mode == ShortNameMode::kEnforcing);
}

Result<image::ShortNames> LoadShortNames(const std::string& path, const std::string& default_registry) {
  ASSIGN_OR_RETURN(const RegistriesConf conf, LoadRegistriesConf(path));
  return ShortNamesOf(conf, default_registry);
}

const RegistryEntry* FindEntry(const RegistriesConf& conf, const image::Reference& reference) {
  const RegistryEntry* best = nullptr;
  for (const RegistryEntry& entry : conf.entries) {
    if (!Covers(entry, reference)) continue;
    if (best == nullptr || Weight(entry.prefix) > Weight(best->prefix)) best = &entry;
  }
  return best;
}

const RegistryEntry* FindBlock(const RegistriesConf& conf, const image::Reference& reference) {
  const RegistryEntry* best = FindEntry(conf, reference);
  if (best != nullptr && best->blocked) return best;
  const std::string name = WithPlainHost(reference.Name());
  size_t longest = 0;
  for (const RegistryEntry& entry : conf.entries) {
    const std::string prefix = WithPlainHost(entry.prefix);
    const bool as_written = Covers(entry, reference);
    const bool covers = as_written || Covered(prefix, name) != 0 ||
                        (!reference.tag().empty() && prefix == name + ":" + reference.tag()) ||
                        (!reference.digest().empty() && prefix == name + "@" + reference.digest());
    if (!covers) continue;
    // Of two that mean the same host the one that is written like the reference counts.
    const size_t weight = 2 * Weight(prefix) + (as_written ? 1 : 0);
    if (weight <= longest) continue;
    longest = weight;
    best = &entry;
  }
  return best != nullptr && best->blocked ? best : nullptr;
}

std::string Rewrite(const RegistryEntry& entry, const Location& location, const image::Reference& reference) {
  const std::string name = reference.Name();
  if (location.location.empty() || !Covers(entry, reference)) return name;
  if (size_t covered = Covered(entry.prefix, name); covered != 0) return location.location + name.substr(covered);
  for (const std::string& tail : {":" + reference.tag(), "@" + reference.digest()}) {
    if (tail.size() > 1 && location.location.ends_with(tail)) {
      return location.location.substr(0, location.location.size() - tail.size());
    }
  }
  return location.location;
}

}  // namespace davit::registries
