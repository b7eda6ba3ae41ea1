#include "engine/registry_auth.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <optional>

#include "base/strings.h"
#include "engine/namespace_file.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

constexpr size_t kMaxAuthFile = 1 << 20;
constexpr size_t kMaxHelperOutput = 64 << 10;
constexpr std::chrono::seconds kHelperBudget{30};
constexpr std::string_view kHubServer = "https://index.docker.io/v1/";  // Docker Hub's name in helpers' stores

// "https://index.docker.io/v1/" -> "docker.io", "reg:5000/team/" -> "reg:5000/team"
std::string NameOf(std::string_view key) {
  bool url = false;
  for (std::string_view scheme : {"https://", "http://"}) {
    if (!key.starts_with(scheme)) continue;
    key.remove_prefix(scheme.size());
    url = true;
    break;
  }
  while (key.ends_with('/')) key.remove_suffix(1);
  const size_t slash = key.find('/');
  std::string host(key.substr(0, slash));
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string_view path = slash == std::string_view::npos ? std::string_view() : key.substr(slash + 1);
  // The address of an API. Without a scheme it is a namespace, but for the old index of Docker Hub.
  if ((url || host == "index.docker.io") && (path == "v1" || path == "v2")) path = {};
  if (image::IsDockerHub(host)) host = "docker.io";
  return path.empty() ? host : host + "/" + std::string(path);
}

std::string Text(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

const boost::json::object* ObjectAt(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? &value->as_object() : nullptr;
}

image::Credentials EntryOf(const boost::json::object& fields) {
  image::Credentials credentials;
  credentials.auth = Text(fields, "auth");
  credentials.username = Text(fields, "username");
  credentials.password = Text(fields, "password");
  credentials.identity_token = Text(fields, "identitytoken");
  credentials.registry_token = Text(fields, "registrytoken");
  return credentials;
}

// The name becomes a part of a command.
bool IsHelperName(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

// Runs docker-credential-NAME get with the server on its stdin. nullopt: it has nothing for the server.
Result<std::optional<image::Credentials>> AskHelper(const std::string& name, const std::string& server,
                                                    Deadline deadline) {
  if (!IsHelperName(name)) {
    return InvalidArgument(fmt::format("\"{}\" is no name of a credential helper", Printable(name, 128)));
  }
  sys::SpawnOptions options;
  options.argv = {"docker-credential-" + name, "get"};
  // Helpers of clouds look for their own settings there.
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable)
    options.env.emplace_back(*variable);
  options.cwd = "/";
  Result<sys::CommandResult> run =
      sys::RunCommand(options, server, kMaxHelperOutput, deadline.Min(Deadline::After(kHelperBudget)));
  // That the program is not there must not read as an image that is not there.
  if (run.code() == StatusCode::kNotFound) return FailedPrecondition(run.status().message());
  ASSIGN_OR_RETURN(sys::CommandResult ended, std::move(run));
  if (ended.exit.signal != 0 || ended.exit.code != 0) {
    // The protocol's words for "none"; helpers have no exit code for it.
    if (ended.out.find("credentials not found in native keychain") != std::string::npos)
      return std::optional<image::Credentials>();
    std::string_view said = Trim(ended.out.empty() ? ended.err : ended.out);
    return FailedPrecondition(fmt::format("{} get, for {}: {}", options.argv[0], server,
                                          said.empty() ? "it failed without a word" : Printable(said, 300)));
  }
  boost::json::error_code error;
  boost::json::value answer = boost::json::parse(ended.out, error);
  if (error || !answer.is_object()) {  // what it printed may be a secret
    return FailedPrecondition(fmt::format("{} get, for {}: its answer is no JSON object", options.argv[0], server));
  }
  image::Credentials credentials;
  credentials.username = Text(answer.as_object(), "Username");
  credentials.password = Text(answer.as_object(), "Secret");
  if (credentials.username == "<token>") {
    credentials.identity_token = std::move(credentials.password);
    credentials.username.clear();
    credentials.password.clear();
  }
  if (credentials.empty()) return std::optional<image::Credentials>();
  return std::optional<image::Credentials>(std::move(credentials));
}

Result<FoundCredentials> FromFile(const std::string& path, const image::Reference& reference, Deadline deadline,
                                  Helpers helpers) {
  ASSIGN_OR_RETURN_WITH(std::string text, sys::ReadFile(path, kMaxAuthFile), "credentials for " + reference.Name());
  return CredentialsFromDockerConfig(text, reference, path, deadline, helpers);
}

bool IsAnswer(const FoundCredentials& found) { return !found.credentials.empty() || found.ask_helper; }

}  // namespace

Result<FoundCredentials> CredentialsFromDockerConfig(std::string_view text, const image::Reference& reference,
                                                     const std::string& file, Deadline deadline, Helpers helpers) {
  boost::json::error_code error;
  boost::json::value root = boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error || !root.is_object()) return InvalidArgument(file + ": it is not a JSON object");
  const std::string host = NameOf(reference.domain());
  const std::string server = host == "docker.io" ? std::string(kHubServer) : reference.domain();
  auto ask = [&](const std::string& helper) -> Result<FoundCredentials> {
    if (helpers == Helpers::kNone) {
      FoundCredentials later;
      later.ask_helper = true;
      return later;
    }
    auto answer = AskHelper(helper, server, deadline);
    if (!answer.ok()) return answer.status().Annotate(file);
    if (!answer->has_value()) return FoundCredentials();
    return FoundCredentials{std::move(**answer), false, fmt::format("{}: docker-credential-{}", file, helper)};
  };
  if (const boost::json::object* by_host = ObjectAt(root.as_object(), "credHelpers")) {
    for (const auto& entry : *by_host) {
      if (NameOf({entry.key().data(), entry.key().size()}) != host || !entry.value().is_string()) continue;
      ASSIGN_OR_RETURN(FoundCredentials found, ask(std::string(entry.value().as_string())));
      if (IsAnswer(found)) return found;
    }
  }
  if (const boost::json::object* auths = ObjectAt(root.as_object(), "auths")) {
    const std::string image = host + "/" + reference.repository();
    FoundCredentials best;
    size_t longest = 0;
    for (const auto& entry : *auths) {
      const std::string key(entry.key().data(), entry.key().size());
      const std::string name = NameOf(key);
      const bool covers = image == name || image.starts_with(name + "/");
      if (name.empty() || !covers || name.size() <= longest || !entry.value().is_object()) continue;
      image::Credentials credentials = EntryOf(entry.value().as_object());
      if (credentials.empty()) continue;  // docker's mark for one that is in credsStore
      longest = name.size();
      best = {std::move(credentials), false, fmt::format("{}: {}", file, Printable(key, 300))};
    }
    if (!best.credentials.empty()) return best;
  }
  if (std::string store = Text(root.as_object(), "credsStore"); !store.empty()) return ask(store);
  return FoundCredentials();
}

Result<FoundCredentials> ConfiguredCredentials(const config::ImageConfig& config, const image::Reference& reference,
                                               const std::string& pod_namespace, Deadline deadline, Helpers helpers) {
  ASSIGN_OR_RETURN(const std::string own, NamespaceFile(config.auth_dir, pod_namespace));
  if (!own.empty()) {
    ASSIGN_OR_RETURN(FoundCredentials found, FromFile(own, reference, deadline, helpers));
    if (IsAnswer(found)) return found;
  }
  if (auto it = config.registries.find(reference.domain()); it != config.registries.end()) {
    const config::RegistryConfig& registry = it->second;
    if (!registry.username.empty()) {
      FoundCredentials found;
      found.credentials.username = registry.username;
      found.credentials.password = registry.password.Reveal();
      found.source = fmt::format("davit.toml: image.registries.\"{}\"", it->first);
      return found;
    }
    if (!registry.auth_file.empty()) {
      ASSIGN_OR_RETURN(FoundCredentials found, FromFile(registry.auth_file, reference, deadline, helpers));
      if (IsAnswer(found)) return found;
    }
  }
  if (config.auth_file.empty()) return FoundCredentials();
  return FromFile(config.auth_file, reference, deadline, helpers);
}

}  // namespace davit::engine
