#include "image/endpoint.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/strings.h"

namespace davit::image {
namespace {

struct Mirror {
  std::string scheme;  // empty: by the host's options
  std::string host;
  std::string prefix;
};
Mirror ParseMirror(const std::string& text) {
  Mirror out;
  std::string rest = text;
  if (size_t scheme = rest.find("://"); scheme != std::string::npos) {
    out.scheme = rest.substr(0, scheme);
    rest = rest.substr(scheme + 3);
  }
  size_t slash = rest.find('/');
  out.host = rest.substr(0, slash);
  if (slash != std::string::npos) out.prefix = rest.substr(slash);
  while (out.prefix.ends_with('/')) out.prefix.pop_back();
  return out;
}

const HostOptions* FindHost(const HostMap& hosts, const std::string& host) {
  auto it = hosts.find(host);
  return it == hosts.end() ? nullptr : &it->second;
}

TlsOptions TlsOf(const HostOptions* options) {
  TlsOptions tls;
  if (options == nullptr) return tls;
  if (!options->ca_file.empty()) tls.ca_files.push_back(options->ca_file);
  tls.skip_verify = options->skip_verify;
  return tls;
}

}  // namespace

std::string ApiHost(std::string host) {
  if (size_t scheme = host.find("://"); scheme != std::string::npos) host = host.substr(scheme + 3);
  host = host.substr(0, host.find('/'));
  return IsDockerHub(host) ? "registry-1.docker.io" : host;
}

bool SameHost(const std::string& one, const std::string& other) {
  auto plain = [](const std::string& address) {
    const std::string_view port = address.starts_with("http://") ? ":80" : ":443";
    std::string host =
        address.substr(0, address.find('/', address.find("://") == std::string::npos ? 0 : address.find("://") + 3));
    std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
    if (host.ends_with(port)) host.resize(host.size() - port.size());
    return ApiHost(host);
  };
  return plain(one) == plain(other);
}

TlsOptions TlsFor(const HostMap& hosts, const std::string& host_port) {
  TlsOptions tls;
  for (const auto& [name, options] : hosts) {
    const std::string host = ApiHost(name);
    if (host != host_port && host + ":443" != host_port) continue;
    if (!options.ca_file.empty()) tls.ca_files = {options.ca_file};
    tls.skip_verify = options.skip_verify;
  }
  return tls;
}

bool IsLoopback(std::string_view host_port) {
  std::string host(host_port);
  // "[::1]" has colons of its own.
  if (size_t colon = host.rfind(':'); colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    host.resize(colon);
  }
  if (host == "localhost" || host == "[::1]") return true;
  in_addr address{};
  // An address and no name: 127.example.com is anybody's.
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

std::string Endpoint::Host() const {
  const size_t begin = base.find("://");
  std::string host = begin == std::string::npos ? base : base.substr(begin + 3);
  return host.substr(0, host.find('/'));
}

Endpoint RegistryEndpoint(const Reference& reference, const HostMap& hosts) {
  const HostOptions* options = FindHost(hosts, reference.domain());
  const std::string host = ApiHost(reference.domain());
  Endpoint out;
  out.base = fmt::format("{}://{}/v2", options != nullptr && options->plain_http ? "http" : "https", host);
  out.repository = reference.repository();
  out.tls = TlsOf(options);
  const bool configured = options != nullptr && (options->plain_http || !out.tls.empty());
  out.maybe_plain = !configured && IsLoopback(host);
  if (configured) out.configured_by = fmt::format("davit.toml: image.registries.\"{}\"", reference.domain());
  return out;
}

Result<std::vector<Endpoint>> EndpointsFor(const Reference& reference, const HostMap& hosts) {
  const HostOptions* options = FindHost(hosts, reference.domain());
  std::vector<Endpoint> out;
  if (options != nullptr) {
    for (const std::string& text : options->mirrors) {
      Mirror mirror = ParseMirror(text);
      if (mirror.host.empty() || (!mirror.scheme.empty() && mirror.scheme != "http" && mirror.scheme != "https")) {
        return InvalidArgument(
            fmt::format("mirror \"{}\" of {} is no [scheme://]host[/prefix]", Printable(text), reference.domain()));
      }
      const HostOptions* own = FindHost(hosts, mirror.host);
      if (mirror.scheme.empty()) mirror.scheme = own != nullptr && own->plain_http ? "http" : "https";
      Endpoint& endpoint = out.emplace_back();
      endpoint.base = fmt::format("{}://{}{}/v2", mirror.scheme, mirror.host, mirror.prefix);
      endpoint.repository = reference.repository();
      endpoint.mirror = true;
      endpoint.tls = TlsOf(own);
      endpoint.configured_by = fmt::format("davit.toml: image.registries.\"{}\".mirrors", reference.domain());
    }
  }
  if (options == nullptr || options->fallback || options->mirrors.empty()) {
    out.push_back(RegistryEndpoint(reference, hosts));
  }
  return out;
}

Result<std::string> UserAndPassword(const Credentials& credentials) {
  if (!credentials.username.empty()) return credentials.username + ":" + credentials.password;
  if (credentials.auth.empty()) return std::string();
  std::string text(credentials.auth);
  std::string out(3 * (text.size() / 4 + 1), '\0');
  int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                             reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) return InvalidArgument("the auth field of the credentials is not base64");
  // EVP counts padding as bytes.
  size -= static_cast<int>(text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0);
  out.resize(static_cast<size_t>(std::max(size, 0)));
  if (out.find(':') == std::string::npos)
    return InvalidArgument("the auth field of the credentials is not user:password");
  while (out.ends_with('\0')) out.pop_back();  // some tools encode a trailing zero byte
  return out;
}

bool GiveCredentials(const Credentials& credentials, const std::string& source, const Reference& reference,
                     std::vector<Endpoint>& endpoints) {
  if (credentials.empty()) return false;
  const bool named = !credentials.server_address.empty();
  const std::string& owner = named ? credentials.server_address : reference.domain();
  bool given = false;
  for (Endpoint& endpoint : endpoints) {
    if (!SameHost(endpoint.base, owner) || (endpoint.mirror && !named)) continue;
    endpoint.credentials = credentials;
    endpoint.credentials.server_address.clear();
    endpoint.credentials_source = source;
    given = true;
  }
  return given;
}

}  // namespace davit::image
