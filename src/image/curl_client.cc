#include "image/curl_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/strings.h"
#include "image/out_of_memory.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kMaxAuthorityBytes = 1 << 20;  // one file

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// All of them as one text. libcurl takes one file, and administrators have several.
Result<std::string> ReadAuthorities(const std::vector<std::string>& files, const std::string& host) {
  std::string out;
  for (const std::string& file : files) {
    Result<std::string> text = sys::ReadFile(file, kMaxAuthorityBytes);
    if (!text.ok()) return FailedPrecondition(fmt::format("ca_file for {}: {}", host, text.status().message()));
    out += *text;
    if (!out.ends_with('\n')) out += '\n';
  }
  return out;
}

struct UrlParts {
  CURLU* handle = curl_url();
  UrlParts() = default;
  UrlParts(const UrlParts&) = delete;
  UrlParts& operator=(const UrlParts&) = delete;
  ~UrlParts() { curl_url_cleanup(handle); }
  [[nodiscard]] std::string Get(CURLUPart part, unsigned flags = 0) const {
    char* text = nullptr;
    if (curl_url_get(handle, part, &text, flags) != CURLUE_OK) return "";
    std::string out(text);
    curl_free(text);
    return out;
  }
};

}  // namespace

Result<Origin> OriginOf(const std::string& url) {
  UrlParts parts;
  if (curl_url_set(parts.handle, CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    return InvalidArgument(fmt::format("malformed URL \"{}\"", Printable(url)));
  }
  Origin out{Lower(parts.Get(CURLUPART_SCHEME)), ""};
  if (out.scheme != "http" && out.scheme != "https") {
    return InvalidArgument(fmt::format("URL \"{}\" is neither http nor https", Printable(url)));
  }
  if (!parts.Get(CURLUPART_USER).empty() || !parts.Get(CURLUPART_PASSWORD).empty()) {
    return InvalidArgument(fmt::format("URL of host {} has a user name in it", Printable(parts.Get(CURLUPART_HOST))));
  }
  out.host = Lower(parts.Get(CURLUPART_HOST)) + ":" + parts.Get(CURLUPART_PORT, CURLU_DEFAULT_PORT);
  return out;
}

std::optional<uint64_t> RetryAfterSeconds(std::string_view value) {
  const std::string text(Trim(value));
  if (text.empty() || text.size() > 64) return std::nullopt;
  if (std::optional<uint64_t> seconds = ParseUint64(text)) return seconds;
  const time_t at = ::curl_getdate(text.c_str(), nullptr);
  if (at < 0) return std::nullopt;
  const time_t now = ::time(nullptr);
  return at > now ? static_cast<uint64_t>(at - now) : 0;
}

struct CurlClient::Transfer {
  CURL* handle = nullptr;
  HttpResponse response;
  const BodySink* sink = nullptr;
  size_t max_body = 0;
  size_t header_bytes = 0;
  uint64_t bytes = 0;
  Status error;  // of the sink or a cap
  bool stalled = false;
  Clock::time_point last_activity = Clock::now();
  Clock::duration stall_limit{};
  uint64_t least_of_window = 0;  // bytes in one stall_limit
  Clock::time_point window_began = Clock::now();
  uint64_t window_bytes = 0;  // `bytes` when it began
  bool drips = false;
  curl_off_t sent = 0;
  uint32_t connect_timeout_seconds = 0;

  // Nothing that C called may throw.
  template <typename Work>
  size_t Take(size_t size, Work&& work) {
    Status taken = OutOfMemoryAsStatus(std::forward<Work>(work));
    if (taken.ok()) return size;
    error = std::move(taken);
    return 0;
  }
  static size_t OnHeader(char* data, size_t, size_t size, void* user) {
    auto* self = static_cast<Transfer*>(user);
    return self->Take(size, [&] { return self->Header({data, size}); });
  }
  static size_t OnBody(char* data, size_t, size_t size, void* user) {
    auto* self = static_cast<Transfer*>(user);
    return self->Take(size, [&] { return self->Body({data, size}); });
  }

  Status Header(std::string_view line) {
    last_activity = Clock::now();
    header_bytes += line.size();
    if (header_bytes > kMaxHeaderBytes) return ResourceExhausted("response headers are over 64 KiB");
    if (line.starts_with("HTTP/")) {  // the answer after a 100 Continue or a proxy's CONNECT
      response.headers.clear();
      return {};
    }
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return {};
    std::string name = Lower(Trim(line.substr(0, colon)));
    std::string& value = response.headers[name];
    if (!value.empty()) value += ", ";
    value += Trim(line.substr(colon + 1));
    return {};
  }

  Status Body(std::string_view data) {
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &response.status);
    bytes += data.size();
    bool success = response.status >= 200 && response.status < 300;
    if (success && *sink) {
      const Clock::time_point before = Clock::now();
      Status taken = (*sink)(response, data);
      last_activity = Clock::now();  // after: a slow disk is no slow network
      window_began += last_activity - before;
      return taken;
    }
    last_activity = Clock::now();
    if (response.body.size() + data.size() > max_body) {
      if (success) return ResourceExhausted(fmt::format("the answer is over {} bytes", max_body));
      data = data.substr(0, max_body - response.body.size());  // the beginning of an error page will do
    }
    response.body.append(data);
    return {};
  }

  static int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t sent) {
    auto* self = static_cast<Transfer*>(user);
    if (sent != self->sent) {
      self->sent = sent;
      self->last_activity = Clock::now();
    }
    const Clock::time_point now = Clock::now();
    if (now - self->window_began >= self->stall_limit) {
      self->drips = self->bytes - self->window_bytes < self->least_of_window;
      self->window_began = now;
      self->window_bytes = self->bytes;
    }
    if (!self->drips && now - self->last_activity < self->stall_limit) return 0;
    self->stalled = true;
    return 1;
  }
};

Result<std::unique_ptr<CurlClient>> CurlClient::Create(CurlOptions options) {
  CURL* handle = curl_easy_init();
  if (handle == nullptr) return ResourceExhausted("curl: out of memory");
  return std::unique_ptr<CurlClient>(new CurlClient(handle, options));
}

CurlClient::~CurlClient() { curl_easy_cleanup(handle_); }

Status CurlClient::Explain(int code, const Transfer& transfer, const std::string& host) {
  const char* text = curl_easy_strerror(static_cast<CURLcode>(code));
  if (!transfer.error.ok()) return transfer.error;
  transient_ = true;
  if (transfer.drips) {
    transient_ = false;
    return DeadlineExceeded(fmt::format("{} sends fewer than {} bytes a second: {} so far", host,
                                        options_.min_bytes_per_second, transfer.bytes));
  }
  if (transfer.stalled) {
    return DeadlineExceeded(
        fmt::format("{} sent nothing for {} s after {} bytes", host, options_.stall_timeout_seconds, transfer.bytes));
  }
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION: {
      transient_ = false;
      long verify = 0;
      curl_easy_getinfo(handle_, CURLINFO_SSL_VERIFYRESULT, &verify);
      return Unavailable(
          verify != 0
              ? fmt::format("the certificate of {0} is not signed by a known authority: set ca_file for {0}", host)
              : fmt::format("the certificate of {} is for another name", host));
    }
    case CURLE_SSL_CACERT_BADFILE:
      transient_ = false;
      return FailedPrecondition(fmt::format("the ca_file for {} has no PEM certificates that can be read", host));
    case CURLE_SSL_CERTPROBLEM:
      transient_ = false;
      return FailedPrecondition(
          fmt::format("the client certificate for {} and its key cannot be used: are both PEM, and a pair?", host));
    case CURLE_OUT_OF_MEMORY:
      return ResourceExhausted("davit-pull is out of memory");
    case CURLE_SSL_CONNECT_ERROR:
      transient_ = false;
      no_tls_ = true;
      return Unavailable(
          fmt::format("{0} does not speak TLS ({1}): set plain_http for {0} if it serves plain HTTP", host, text));
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Unavailable(fmt::format("the name of {} cannot be resolved", host));
    case CURLE_OPERATION_TIMEDOUT:
      return Unavailable(fmt::format("no connection to {} within {} s", host, transfer.connect_timeout_seconds));
    default:
      return Unavailable(fmt::format("{}: {}", host, text));
  }
}

Result<HttpResponse> CurlClient::Perform(const HttpRequest& request, const BodySink& sink) {
  transient_ = false;
  no_tls_ = false;
  ASSIGN_OR_RETURN(Origin origin, OriginOf(request.url));
  ASSIGN_OR_RETURN(std::string authorities, ReadAuthorities(request.tls.ca_files, origin.host));
  CURL* curl = handle_;
  curl_easy_reset(curl);  // keeps connections
  Transfer transfer;
  transfer.handle = curl;
  transfer.connect_timeout_seconds =
      request.connect_timeout_seconds != 0 ? request.connect_timeout_seconds : options_.connect_timeout_seconds;
  transfer.sink = &sink;
  transfer.max_body = request.max_body;
  transfer.stall_limit = std::chrono::seconds(options_.stall_timeout_seconds);
  transfer.least_of_window = uint64_t{options_.min_bytes_per_second} * options_.stall_timeout_seconds;
  curl_slist* headers = nullptr;
  for (const std::string& header : request.headers) headers = curl_slist_append(headers, header.c_str());
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "davit");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_UNRESTRICTED_AUTH, 0L);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(transfer.connect_timeout_seconds));
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::OnProgress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  // libcurl takes http_proxy, https_proxy and no_proxy from the environment; this node is never behind one.
  if (IsLoopback(origin.host)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  if (!authorities.empty()) {  // CAPATH stays the system's
    curl_blob blob{authorities.data(), authorities.size(), CURL_BLOB_COPY};
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
  }
  if (!request.tls.client_cert.empty()) {
    const std::string& key = request.tls.client_key.empty() ? request.tls.client_cert : request.tls.client_key;
    curl_easy_setopt(curl, CURLOPT_SSLCERT, request.tls.client_cert.c_str());
    curl_easy_setopt(curl, CURLOPT_SSLKEY, key.c_str());
  }
  if (request.tls.skip_verify) {
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!request.post.empty()) curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, request.post.c_str());

  CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  if (char* location = nullptr;
      curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location) == CURLE_OK && location != nullptr) {
    transfer.response.redirect_url = location;
  }
  curl_slist_free_all(headers);
  if (code != CURLE_OK) return Explain(code, transfer, origin.host);
  return std::move(transfer.response);
}

}  // namespace davit::image
