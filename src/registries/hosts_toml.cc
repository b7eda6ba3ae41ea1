#include "registries/hosts_toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/strings.h"
#include "config/config.h"
#include "registries/read_file.h"
#include "registries/toml_values.h"

namespace davit::registries {
namespace {

constexpr size_t kMaxHeaders = 64;
constexpr uint64_t kLongestTimeoutSeconds = 3600;

bool IsToken(std::string_view name) {  // RFC 9110 section 5.6.2
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

// "5s", "1m30s", "1.5s", "500ms" as whole seconds, upwards. nullopt: it is none.
std::optional<uint32_t> Seconds(std::string_view text) {
  constexpr double kMost = kLongestTimeoutSeconds * 1000.0;
  double milliseconds = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    const std::string_view number = text.substr(0, digits);
    const size_t dot = std::min(number.find('.'), number.size());
    std::optional<uint64_t> whole = ParseUint64(number.substr(0, dot));
    if (!whole || *whole > kLongestTimeoutSeconds * 1000) return std::nullopt;
    auto value = static_cast<double>(*whole);
    if (dot < number.size()) {
      const std::string_view part = number.substr(dot + 1);
      std::optional<uint64_t> fraction = ParseUint64(part);
      if (!fraction || part.size() > 9) return std::nullopt;
      value += static_cast<double>(*fraction) / std::pow(10.0, static_cast<double>(part.size()));
    }
    text.remove_prefix(digits);
    const size_t letters = std::min(text.find_first_of("0123456789."), text.size());
    const std::string_view unit = text.substr(0, letters);
    text.remove_prefix(letters);
    const double factor = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60'000 : unit == "h" ? 3'600'000 : 0;
    if (factor == 0) return std::nullopt;
    milliseconds += value * factor;
  }
  if (milliseconds <= 0 || milliseconds > kMost) return std::nullopt;
  return static_cast<uint32_t>(std::ceil(milliseconds / 1000));
}

class Reader : private TomlValues {
 public:
  Reader(const std::string& file, const image::Reference& reference, const image::HostMap& own)
      : TomlValues(file),
        directory_(std::filesystem::path(file).parent_path().string()),
        reference_(reference),
        own_(own) {}

  Result<std::vector<image::Endpoint>> Read(const toml::table& root) {
    using Place = std::pair<uint32_t, uint32_t>;
    std::vector<std::pair<Place, image::Endpoint>> hosts;  // by line and column, for the order of the file counts
    if (const toml::node* node = root.get("host")) {
      const toml::table* table = node->as_table();
      if (table == nullptr) return Wrong(*node, "host: expected [host.\"URL\"] tables");
      if (table->size() > kMaxHosts) return Wrong(*node, fmt::format("more than {} hosts", kMaxHosts));
      for (const auto& [key, value] : *table) {
        const toml::table* host = value.as_table();
        if (host == nullptr)
          return Wrong(value, fmt::format("host \"{}\": expected a table", Printable(std::string(key.str()), 300)));
        ASSIGN_OR_RETURN(image::Endpoint endpoint, Host(std::string(key.str()), *host));
        hosts.emplace_back(Place{key.source().begin.line, key.source().begin.column}, std::move(endpoint));
      }
    }
    std::stable_sort(hosts.begin(), hosts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<image::Endpoint> out;
    for (auto& host : hosts) out.push_back(std::move(host.second));
    std::string server;
    if (const toml::node* node = root.get("server")) {
      ASSIGN_OR_RETURN(server, Text(*node, "server"));
    }
    ASSIGN_OR_RETURN(image::Endpoint last, Host(server, root));
    out.push_back(std::move(last));
    return out;
  }

 private:
  Result<image::Endpoint> Host(const std::string& url, const toml::table& table) {
    image::Endpoint out = RegistryEndpoint(reference_, own_);
    if (!url.empty()) {
      ASSIGN_OR_RETURN(out.base, Base(url, table));
      out.tls = {};
      out.maybe_plain = false;
      out.mirror = !image::SameHost(out.base, reference_.domain());
      if (out.mirror) out.name_space = reference_.domain();
    }
    out.configured_by = fmt::format("{}:{}", file(), url.empty() ? 1 : table.source().begin.line);
    RETURN_IF_ERROR(Capabilities(table, out));
    if (const toml::node* node = table.get("ca")) {
      ASSIGN_OR_RETURN(out.tls.ca_files, Paths(*node, "ca"));
    }
    if (const toml::node* node = table.get("client")) RETURN_IF_ERROR(Client(*node, out.tls));
    if (table.contains("skip_verify")) {
      ASSIGN_OR_RETURN(out.tls.skip_verify, FlagAt(table, "skip_verify"));
    }
    if (const toml::node* node = table.get("dial_timeout")) {
      ASSIGN_OR_RETURN(std::string text, Text(*node, "dial_timeout"));
      std::optional<uint32_t> seconds = Seconds(text);
      if (!seconds) return Wrong(*node, "dial_timeout: expected a time of at most an hour such as \"5s\" or \"1m30s\"");
      out.connect_timeout_seconds = *seconds;
    }
    if (const toml::node* node = table.get("header")) RETURN_IF_ERROR(Headers(*node, out.headers));
    return out;
  }

  Result<std::string> Base(const std::string& text, const toml::table& table) {
    const std::string url = text.starts_with("http://") || text.starts_with("https://") ? text : "https://" + text;
    const size_t host = url.find("://") + 3;
    const size_t slash = std::min(url.find('/', host), url.size());
    if (slash == host || url.find_first_of("@?# \t", host) != std::string::npos || HasControl(url)) {
      return Wrong(table, fmt::format("\"{}\" is no http or https URL of a host", Printable(text, 300)));
    }
    ASSIGN_OR_RETURN(const bool as_it_is, FlagAt(table, "override_path"));
    std::string path = url.substr(slash);
    while (path.ends_with('/')) path.pop_back();
    if (!as_it_is && !path.ends_with("/v2")) path += "/v2";
    return url.substr(0, slash) + path;
  }

  Status Capabilities(const toml::table& table, image::Endpoint& out) {
    const toml::node* node = table.get("capabilities");
    if (node == nullptr) return {};
    ASSIGN_OR_RETURN(std::vector<std::string> names, Strings(*node, "capabilities"));
    bool pull = false;
    bool resolve = false;
    for (const std::string& name : names) {
      pull = pull || name == "pull";
      resolve = resolve || name == "resolve";
      if (name != "pull" && name != "resolve" && name != "push" && name != "referrers") {
        return Wrong(*node, fmt::format("capabilities: \"{}\" is none of pull, resolve, push and referrers",
                                        Printable(name, 64)));
      }
    }
    if (names.empty()) return {};  // as if it were not there
    out.content = pull;
    out.tags = pull && resolve;
    return {};
  }

  // "client.pem", ["cert.pem", …] or [["cert.pem", "key.pem"], …]; the first counts.
  Status Client(const toml::node& node, image::TlsOptions& tls) {
    const toml::array* array = node.as_array();
    if (array != nullptr && array->empty()) return {};
    if (array == nullptr || array->get(0)->as_array() == nullptr) {
      ASSIGN_OR_RETURN(std::vector<std::string> files, Paths(node, "client"));
      tls.client_cert = files.front();
      return {};
    }
    ASSIGN_OR_RETURN(std::vector<std::string> pair, Paths(*array->get(0), "client"));
    if (pair.size() > 2) return Wrong(node, "client: a pair is [\"cert.pem\", \"key.pem\"]");
    tls.client_cert = pair.front();
    if (pair.size() == 2) tls.client_key = pair.back();
    return {};
  }

  Status Headers(const toml::node& node, std::vector<std::string>& out) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "header: expected a table");
    for (const auto& [key, value] : *table) {
      const std::string name(key.str());
      if (!IsToken(name))
        return Wrong(value, fmt::format("header: \"{}\" is no name of a header", Printable(name, 64)));
      ASSIGN_OR_RETURN(std::vector<std::string> texts, Strings(value, "header"));
      for (const std::string& text : texts) {
        if (HasControl(text)) return Wrong(value, fmt::format("header {}: its value has a control character", name));
        if (out.size() == kMaxHeaders) return Wrong(value, fmt::format("more than {} headers", kMaxHeaders));
        out.push_back(fmt::format("{}: {}", name, text));
      }
    }
    return {};
  }

  Result<std::string> Text(const toml::node& node, std::string_view key) {
    ASSIGN_OR_RETURN(std::string text, String(node, key));
    if (text.size() > 8192) return Wrong(node, fmt::format("{}: it is too long", key));
    return text;
  }
  // A string, or a list of them.
  Result<std::vector<std::string>> Strings(const toml::node& node, std::string_view key) {
    std::vector<std::string> out;
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      ASSIGN_OR_RETURN(std::string text, Text(node, key));
      out.push_back(std::move(text));
      return out;
    }
    if (array->size() > kMaxCertFiles) return Wrong(node, fmt::format("{}: more than {}", key, kMaxCertFiles));
    for (const toml::node& item : *array) {
      ASSIGN_OR_RETURN(std::string text, Text(item, key));
      out.push_back(std::move(text));
    }
    return out;
  }
  Result<std::vector<std::string>> Paths(const toml::node& node, std::string_view key) {
    ASSIGN_OR_RETURN(std::vector<std::string> out, Strings(node, key));
    if (out.empty()) return Wrong(node, fmt::format("{}: it is empty", key));
    for (std::string& path : out) {
      if (path.empty() || HasControl(path)) return Wrong(node, fmt::format("{}: it names no file", key));
      if (!path.starts_with('/')) path = directory_ + "/" + path;
    }
    return out;
  }

  const std::string directory_;
  const image::Reference& reference_;
  const image::HostMap& own_;
};

// The names that a registry's directory may have: "host:port" and, where colons are none for files, "host_port_".
std::vector<std::string> DirectoryNames(const std::string& host) {
  std::vector<std::string> out;
  if (size_t colon = host.rfind(':'); colon != std::string::npos && !host.ends_with(']')) {
    out.push_back(host.substr(0, colon) + "_" + host.substr(colon + 1) + "_");
  }
  out.push_back(host);
  return out;
}

}  // namespace

Result<std::vector<image::Endpoint>> ParseHostsToml(std::string_view text, const std::string& file,
                                                    const image::Reference& reference, const image::HostMap& own) {
  ASSIGN_OR_RETURN(toml::table root, config::ParseToml(text, file));
  return Reader(file, reference, own).Read(root);
}

Result<std::optional<std::vector<image::Endpoint>>> LoadHostsToml(const std::vector<std::string>& directories,
                                                                  const image::Reference& reference,
                                                                  const image::HostMap& own, Which which) {
  const std::vector<std::string> names =
      which == Which::kDefault ? std::vector<std::string>{"_default"} : DirectoryNames(reference.domain());
  for (const std::string& directory : directories) {
    for (const std::string& name : names) {
      const std::string file = fmt::format("{}/{}/hosts.toml", directory, name);
      Result<std::string> text = ReadRegularFile(file);
      if (text.code() == StatusCode::kNotFound) continue;
      // A file of the registry's name is nobody's directory.
      std::error_code error;
      if (!text.ok() && std::filesystem::is_regular_file(fmt::format("{}/{}", directory, name), error)) continue;
      if (!text.ok()) return text.status();
      ASSIGN_OR_RETURN(std::vector<image::Endpoint> endpoints, ParseHostsToml(*text, file, reference, own));
      return std::optional(std::move(endpoints));
    }
  }
  return std::optional<std::vector<image::Endpoint>>();
}

Status AddCertificates(const std::vector<std::string>& directories, image::Endpoint& endpoint) {
  if (!endpoint.base.starts_with("https:") || !endpoint.tls.ca_files.empty() || !endpoint.tls.client_cert.empty()) {
    return {};
  }
  std::vector<std::string> names = DirectoryNames(endpoint.Host());
  if (image::IsDockerHub(endpoint.Host())) names.emplace_back("docker.io");  // as people know it
  for (const std::string& directory : directories) {
    for (const std::string& name : names) {
      const std::string path = directory + "/" + name;
      std::vector<std::string> files;
      std::error_code error;
      for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
        files.push_back(it->path().string());
        if (files.size() > kMaxCertFiles) {
          return ResourceExhausted(fmt::format("{}: more than {} files", path, kMaxCertFiles));
        }
      }
      if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) continue;
      if (error) return FailedPrecondition(fmt::format("{}: {}", path, error.message()));
      std::sort(files.begin(), files.end());
      auto has = [&](const std::string& file) { return std::binary_search(files.begin(), files.end(), file); };
      for (const std::string& file : files) {
        if (file.ends_with(".crt")) endpoint.tls.ca_files.push_back(file);
        if (file.ends_with(".cert")) {
          const std::string key = file.substr(0, file.size() - 4) + "key";
          if (!has(key)) return FailedPrecondition(fmt::format("{}: its key {} is not there", file, key));
          if (endpoint.tls.client_cert.empty()) {
            endpoint.tls.client_cert = file;
            endpoint.tls.client_key = key;
          }
        }
        if (file.ends_with(".key") && !has(file.substr(0, file.size() - 3) + "cert")) {
          return FailedPrecondition(
              fmt::format("{}: its certificate {}cert is not there", file, file.substr(0, file.size() - 3)));
        }
      }
      if (!endpoint.tls.ca_files.empty() || !endpoint.tls.client_cert.empty()) return {};
    }
  }
  return {};
}

}  // namespace davit::registries
