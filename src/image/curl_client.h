// CurlClient: one HTTP request at a time over libcurl, with connections kept for the next. It follows no
// redirect and adds no credential by itself: both are Registry's decisions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/endpoint.h"

namespace davit::image {

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string post;                  // form body; empty: GET
  TlsOptions tls;
  uint32_t connect_timeout_seconds = 0;  // 0: CurlOptions'
  size_t max_body = 64 << 10;            // of a body that is returned
};

struct HttpResponse {
  long status = 0;
  // Lower-case names. Repeated headers are joined with ", ".
  std::map<std::string, std::string> headers;
  std::string body;          // of bodies that did not go to the sink, at most max_body
  std::string redirect_url;  // Location made absolute; empty: none
  [[nodiscard]] std::string_view Header(const std::string& name) const {
    auto it = headers.find(name);
    return it == headers.end() ? std::string_view() : std::string_view(it->second);
  }
};

// Gets the body of a 2xx answer piece by piece; an error ends the transfer and is what Perform returns.
using BodySink = std::function<Status(const HttpResponse& response, std::string_view piece)>;

struct CurlOptions {
  uint32_t connect_timeout_seconds = 20;
  uint32_t stall_timeout_seconds = 60;
  uint32_t min_bytes_per_second = 0;  // on average over each stall timeout; 0: none
};

// Not thread-safe: one for each thread.
class CurlClient {
 public:
  static Result<std::unique_ptr<CurlClient>> Create(CurlOptions options);
  ~CurlClient();

  // Any status is a result; errors are those of the transport and the sink:
  //   kUnavailable       no connection, a broken one, or TLS refused (the text says what to configure)
  //   kDeadlineExceeded  no byte moved for the stall timeout (naming host and bytes so far), or fewer than the least
  //                      rate over one; then it is not transient: who drips goes on dripping
  //   kFailedPrecondition  a file of HttpRequest::tls cannot be read or used (naming it)
  //   kResourceExhausted headers over 64 KiB, a body over max_body
  Result<HttpResponse> Perform(const HttpRequest& request, const BodySink& sink);
  // About the last Perform that failed.
  [[nodiscard]] bool transient() const { return transient_; }
  // Somebody answered the last Perform, but not in TLS. False for a certificate that is not trusted.
  [[nodiscard]] bool no_tls() const { return no_tls_; }

 private:
  struct Transfer;
  CurlClient(void* handle, CurlOptions options) : handle_(handle), options_(options) {}
  Status Explain(int code, const Transfer& transfer, const std::string& host);

  void* handle_;  // CURL
  CurlOptions options_;
  bool transient_ = false;
  bool no_tls_ = false;
};

// "host:port" of an http or https URL with the scheme's default port made explicit, and its scheme.
struct Origin {
  std::string scheme;
  std::string host;  // "host:port"
  friend bool operator==(const Origin&, const Origin&) = default;
};
// kInvalidArgument for other schemes, user names in the URL and malformed URLs.
Result<Origin> OriginOf(const std::string& url);

// The value of a Retry-After header (RFC 9110 section 10.2.3), seconds or a date; a date that is past is 0. nullopt: it
// is neither.
[[nodiscard]] std::optional<uint64_t> RetryAfterSeconds(std::string_view value);

}  // namespace davit::image
