// CniResult: what a plugin prints on stdout, of any version of the specification.
//
// Source: CNI specification, section 5 "Result types", and the 0.2.0 specification for ip4/ip6.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "network/config.h"

namespace davit::network {

inline constexpr size_t kMaxResultBytes = 1u << 20;
inline constexpr size_t kMaxResultAddresses = 64;

struct CniResult {
  std::string cni_version;       // empty when the plugin does not say
  std::vector<std::string> ips;  // bare addresses inside the pod, in the order given, each once
};

// A result of 0.1.0 to 1.1.0, told apart by its shape. Addresses of interfaces on the host's side
// (empty "sandbox") do not count. kInvalidArgument for text that is no result or holds a bad address,
// kResourceExhausted beyond the caps.
Result<CniResult> ParseCniResult(std::string_view text);

// What a plugin's result would have been, as far as host-local's leases tell: the addresses that `config` gave to
// `interface` of this container. Empty when there are none. Reads the lease directory.
std::string ResultFromLeases(const NetworkConfig& config, const std::string& container_id,
                             const std::string& interface);

// The same result in the shape of `cni_version`, for "prevResult": a plugin decodes it by the
// version of its own configuration.
Result<std::string> ConvertCniResult(std::string_view text, std::string_view cni_version);

// The error object {code, msg, details} of a plugin that failed, as a Status "msg: details".
// nullopt-like OK when the text is none. Codes: 11 is kUnavailable (try again later), 3 kNotFound
// (container unknown), 1, 2 and 7 kFailedPrecondition (version, field or configuration not supported),
// 50 and 51 kUnavailable (plugin not available), others kInternal.
Status ParseCniError(std::string_view text);

}  // namespace davit::network
