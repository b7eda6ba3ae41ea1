// hosts.toml: containerd's description of the hosts that serve one registry, and the certificate files beside it that
// docker and podman look for.
//
//   DIRECTORY/HOST[:PORT]/hosts.toml     or HOST_PORT_/hosts.toml, or _default/hosts.toml for any other
//   DIRECTORY/HOST[:PORT]/*.crt          authorities; *.cert with *.key of the same name: a client certificate
//
// Keys of later versions are ignored, as there. Source: containerd's docs/hosts.md; containers-certs.d(5).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/endpoint.h"
#include "image/reference.h"

namespace davit::registries {

inline constexpr size_t kMaxHosts = 64;      // of one hosts.toml
inline constexpr size_t kMaxCertFiles = 64;  // of one directory

// The hosts of the file in its order, then its server, or the registry itself where it names none. `file` is for
// messages, and what relative paths in it are relative to. kInvalidArgument with file and line.
Result<std::vector<image::Endpoint>> ParseHostsToml(std::string_view text, const std::string& file,
                                                    const image::Reference& reference, const image::HostMap& own);

enum class Which { kNamed, kDefault };  // the directory of the registry, or _default
// Of the first of `directories` that has it; nullopt: none has.
Result<std::optional<std::vector<image::Endpoint>>> LoadHostsToml(const std::vector<std::string>& directories,
                                                                  const image::Reference& reference,
                                                                  const image::HostMap& own, Which which);

// Fills what the endpoint's TLS has no files for, from the first of `directories` that has a directory for its host.
// kFailedPrecondition for a *.cert without its *.key, and the other way round.
Status AddCertificates(const std::vector<std::string>& directories, image::Endpoint& endpoint);

}  // namespace davit::registries
