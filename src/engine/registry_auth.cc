#include "engine/registry_auth.h"

#include <boost/json.hpp>

#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxAuthFile = 1 << 20;

// "https://index.docker.io/v1/" -> "index.docker.io"
std::string HostOf(std::string_view key) {
  if (size_t scheme = key.find("://"); scheme != std::string_view::npos) key.remove_prefix(scheme + 3);
  return std::string(key.substr(0, key.find('/')));
}

std::string Text(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

}  // namespace

Result<image::Credentials> CredentialsFromDockerConfig(std::string_view text, const std::string& host) {
  boost::json::error_code error;
  boost::json::value root = boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error || !root.is_object()) return InvalidArgument("it is not a JSON object");
  const boost::json::value* auths = root.as_object().if_contains("auths");
  if (auths == nullptr || !auths->is_object()) return image::Credentials();
  // Docker Hub is known by the address of its old index.
  const std::string hub = host == "docker.io" ? "index.docker.io" : host;
  for (const auto& entry : auths->as_object()) {
    std::string entry_host = HostOf(std::string_view(entry.key().data(), entry.key().size()));
    if ((entry_host != host && entry_host != hub) || !entry.value().is_object()) continue;
    const boost::json::object& fields = entry.value().as_object();
    image::Credentials credentials;
    credentials.auth = Text(fields, "auth");
    credentials.username = Text(fields, "username");
    credentials.password = Text(fields, "password");
    credentials.identity_token = Text(fields, "identitytoken");
    credentials.registry_token = Text(fields, "registrytoken");
    return credentials;
  }
  return image::Credentials();
}

Result<image::Credentials> ConfiguredCredentials(const std::map<std::string, config::RegistryConfig>& registries,
                                                 const std::string& host) {
  auto it = registries.find(host);
  if (it == registries.end()) return image::Credentials();
  const config::RegistryConfig& registry = it->second;
  if (!registry.username.empty()) {
    image::Credentials credentials;
    credentials.username = registry.username;
    credentials.password = registry.password.Reveal();
    return credentials;
  }
  if (registry.auth_file.empty()) return image::Credentials();
  ASSIGN_OR_RETURN_WITH(std::string text, sys::ReadFile(registry.auth_file, kMaxAuthFile), "credentials of " + host);
  Result<image::Credentials> credentials = CredentialsFromDockerConfig(text, host);
  if (!credentials.ok()) return credentials.status().Annotate(registry.auth_file);
  return credentials;
}

}  // namespace davit::engine
