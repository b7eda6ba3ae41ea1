// What a pull needs to know, as plain values: made by cmd/davitd from the configuration, and sent to
// davit-pull (docs/formats/pull-protocol.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace davit::image {

// CRI AuthConfig. Has no formatter and no comparison on purpose: secrets are never printed.
struct Credentials {
  std::string username;
  std::string password;
  std::string auth;            // base64 of "user:password"; used when username is empty
  std::string identity_token;  // OAuth2 refresh token for the token server
  std::string registry_token;  // bearer token sent as it is
  // "host[:port]" (a scheme and path are ignored) that the credentials are for; empty: the host of the
  // reference (mirrors get no credentials then).
  std::string server_address;

  [[nodiscard]] bool empty() const {
    return username.empty() && auth.empty() && identity_token.empty() && registry_token.empty();
  }
};

// How to reach one host ("host[:port]").
struct HostOptions {
  bool plain_http = false;   // HTTP instead of TLS; the only way to get it, also for localhost
  std::string ca_file;       // PEM, beside the system's CAs; empty: only those
  bool skip_verify = false;  // TLS without checking the certificate; logged with each pull
  // "[scheme://]host[:port][/prefix]", asked first, in order. Without a scheme the mirror's own
  // plain_http decides; ca_file and skip_verify are those of the mirror's host in every case.
  std::vector<std::string> mirrors;
  bool fallback = true;  // ask the host itself when no mirror has it
};

struct PullLimits {
  uint32_t max_parallel_layers = 4;
  uint32_t connections_per_layer = 1;              // for a large one, where the server takes ranges
  uint64_t min_ranged_bytes = uint64_t{32} << 20;  // what a large one has
  uint64_t max_layer_bytes = 64ULL << 30;          // unpacked, one layer
  uint64_t max_image_bytes = 200ULL << 30;         // unpacked, all layers of one image
  uint64_t max_layer_entries = 10'000'000;         // tar entries in one layer
  uint64_t min_free_bytes = 256ULL << 20;          // the layers' filesystem keeps this much, or 1/20 if that is less
  uint32_t stall_timeout_seconds = 60;             // no byte moved for so long: kDeadlineExceeded
  uint32_t min_bytes_per_second = 1024;  // on average over each stall_timeout: else kDeadlineExceeded. 0: none
  uint32_t connect_timeout_seconds = 20;
  uint32_t retries = 3;  // tries of one request when the error may pass
};

struct Platform {
  std::string os;  // empty: this node's
  std::string architecture;
  std::string variant;
};

}  // namespace davit::image
