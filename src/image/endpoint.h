// Endpoint: one place where an image is asked for, with everything that a request to it needs. A pull has a list of
// them, in order: mirrors, then the registry itself. Who makes the list: davitd (src/registries), of davit.toml,
// registries.conf and hosts.toml; who uses it: davit-pull (registry.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/pull_options.h"
#include "image/reference.h"

namespace davit::image {

struct TlsOptions {
  std::vector<std::string> ca_files;  // PEM, beside the system's; empty: only those
  bool skip_verify = false;           // the certificate is not checked
  std::string client_cert;            // PEM; empty: none
  std::string client_key;             // PEM; empty: it is in client_cert

  [[nodiscard]] bool empty() const { return ca_files.empty() && !skip_verify && client_cert.empty(); }
};

struct Endpoint {
  std::string base;        // root of its API without "/" at the end, "https://host[:port]/v2" where nobody says another
  std::string repository;  // as it is called there
  bool mirror = false;     // stands in for the registry that the reference names
  bool tags = true;        // may be asked what a tag means
  bool content = true;     // may be asked for manifests and blobs by digest
  std::string name_space;  // not empty: sent as the parameter "ns", the registry that a mirror of many stands for
  TlsOptions tls;
  std::vector<std::string> headers;      // "Name: value", to this origin only
  uint32_t connect_timeout_seconds = 0;  // 0: PullLimits::connect_timeout_seconds
  bool maybe_plain = false;              // plain HTTP where it speaks no TLS
  Credentials credentials;               // for this origin and the token server that it names; server_address is empty
  // `credentials` is empty and the node may have some, which takes a while to find out (a credential helper): davitd is
  // asked for them once this endpoint is about to be.
  bool ask_credentials = false;
  // For people; no secret in them.
  std::string credentials_source;
  std::string configured_by;  // file and entry; empty: nobody, it is the registry that the reference names

  [[nodiscard]] std::string Host() const;  // "host[:port]" as in base
};

// What an administrator allows of hosts that no endpoint has, where redirects and token servers lead: by "host[:port]".
using HostMap = std::map<std::string, HostOptions>;

// "registry-1.docker.io" for every way in which tools write Docker Hub's address, else the host of an address with or
// without a scheme and a path.
std::string ApiHost(std::string host);

// Whether two addresses, each with or without a scheme, a path and the port that its scheme has anyway, are of one
// host. Upper case does not count; all of Docker Hub's names are one.
[[nodiscard]] bool SameHost(const std::string& one, const std::string& other);

// "localhost", 127.0.0.0/8 or [::1], with or without a port; no other name, whatever it resolves to.
[[nodiscard]] bool IsLoopback(std::string_view host_port);

// How a host is reached that no endpoint has: "host:port", as Origin has it.
TlsOptions TlsFor(const HostMap& hosts, const std::string& host_port);

// The registry that the reference names, as its own entry in `hosts` says, if there is one.
Endpoint RegistryEndpoint(const Reference& reference, const HostMap& hosts);
// What davit.toml says: mirrors in order, then the registry itself unless fallback is off. kInvalidArgument names a
// mirror that is none.
Result<std::vector<Endpoint>> EndpointsFor(const Reference& reference, const HostMap& hosts);

// "user:password" of the credentials, as basic authentication has it; empty when there are none. kInvalidArgument for
// an auth field that is none; its text is in no message.
Result<std::string> UserAndPassword(const Credentials& credentials);

// Gives the credentials of a request to the endpoints they are for: those on the host of server_address, or, where that
// is empty, the registry that the reference names. Nobody else gets them. True when one did.
bool GiveCredentials(const Credentials& credentials, const std::string& source, const Reference& reference,
                     std::vector<Endpoint>& endpoints);

// One request of a pull to one endpoint, told as it happens.
struct PullAttempt {
  std::string endpoint;       // URL without "/v2", and repository
  std::string configured_by;  // Endpoint's
  std::string credentials;    // where they come from; empty: none
  std::string asked_for;      // "manifest 1.0", "blob sha256:…"
  std::string verdict;        // "OK" or the error
};

}  // namespace davit::image
