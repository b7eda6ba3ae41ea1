#include "image/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "base/log.h"
#include "base/strings.h"
#include "http/base64.h"
#include "image/auth_challenge.h"
#include "image/blob_pieces.h"
#include "image/sha256.h"
#include "oci/json.h"

namespace davit::image {
namespace {

constexpr size_t kMaxManifestBytes = 4 << 20;
constexpr size_t kMaxTokenBytes = 64 << 10;
constexpr int kMaxRedirects = 5;
constexpr uint32_t kMaxConnections = 8;  // of one blob: 36 MiB of pieces
constexpr uint32_t kMaxTriesWithProgress = 20;

constexpr std::string_view kAccept =
    "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

// The registry's own words: {"errors":[{"code":"DENIED","message":"…"}]} (distribution-spec, "Error Codes").
std::string RegistryMessage(const HttpResponse& response) {
  Result<boost::json::value> json = oci::ParseJson(response.body, 64 << 10, 16);
  if (!json.ok()) return "";
  Result<std::vector<oci::JsonNode>> errors = oci::JsonNode(*json, "answer").Key("errors").Elements(16);
  std::string out;
  if (errors.ok()) {
    for (const oci::JsonNode& error : *errors) {
      std::string text = error.Key("message").StringOr("").value_or("");
      if (text.empty()) text = error.Key("code").StringOr("").value_or("");
      if (!text.empty()) out += (out.empty() ? "" : "; ") + Printable(text, 256);
    }
  }
  if (out.empty()) out = Printable(oci::JsonNode(*json, "answer").Key("details").StringOr("").value_or(""), 256);
  return out;
}

Status StatusOfAnswer(const HttpResponse& response, const std::string& where, const std::string& what,
                      bool had_credentials) {
  std::string text = fmt::format("{}: {} answered {}", where, what, response.status);
  if (std::string said = RegistryMessage(response); !said.empty()) text += fmt::format(" ({})", said);
  switch (response.status) {
    case 401:
      return Unauthenticated(
          text + (had_credentials ? ": check the credentials for this registry" : ": the registry wants credentials"));
    case 403:
      return PermissionDenied(text +
                              (had_credentials ? ": these credentials may not pull it" : ": it may need credentials"));
    case 404:
      return NotFound(text);
    case 408:
      return DeadlineExceeded(text);
    case 429:
      return ResourceExhausted(text + ": the registry limits the rate of pulls, try again later");
    default:
      break;
  }
  return response.status >= 500 ? Unavailable(text) : FailedPrecondition(text);
}

bool IsTransientStatus(long status) { return status >= 500 || status == 429 || status == 408; }

}  // namespace

// Asks an endpoint that may speak plain HTTP, without a credential, whether it speaks TLS. A certificate that is not
// trusted, or nobody there, settles nothing: the request itself then says what is wrong.
void Registry::SettleScheme(CurlClient& client, size_t endpoint) {
  std::call_once(settled_[endpoint], [&] {
    const Endpoint& asked = endpoints_[endpoint];
    if (!asked.maybe_plain) return;
    HttpRequest probe;
    probe.url = asked.base + "/";
    probe.tls = asked.tls;
    probe.connect_timeout_seconds = asked.connect_timeout_seconds;
    Result<HttpResponse> answer = client.Perform(probe, BodySink());
    if (!answer.ok() && client.no_tls()) plain_[endpoint] = true;
  });
}

Status Registry::SettleCredentials(size_t endpoint) {
  std::call_once(credentials_asked_[endpoint], [&] {
    if (!endpoints_[endpoint].ask_credentials || !ask_credentials) return;
    Result<Credentials> given = ask_credentials(endpoint);
    Status usable = given.ok() ? UserAndPassword(*given).status() : given.status();
    if (usable.ok()) {
      credentials_[endpoint] = std::move(*given);
    } else {
      credentials_errors_[endpoint] = std::move(usable);
    }
  });
  return credentials_errors_[endpoint];
}

std::string Registry::Base(size_t endpoint) const {
  std::string base = endpoints_[endpoint].base;
  if (plain_[endpoint]) base.replace(0, base.find(':'), "http");
  return base;
}

std::string Registry::Name(size_t endpoint) const {
  const std::string base = Base(endpoint);
  return base.ends_with("/v2") ? base.substr(0, base.size() - 3) : base;
}

struct Registry::Request {
  std::string path;  // below /v2/<repository>/
  std::vector<std::string> headers;
  size_t max_body = 0;
};

struct Registry::Followed {
  HttpResponse response;
  std::string elsewhere;  // "host:port" that answered, when a redirect led away from the endpoint; empty: itself
};

// Of a token server: its answer is why there is no answer of the registry.
struct Registry::Refusal {
  bool transient = false;
  std::string retry_after;
};

Registry::Registry(std::vector<Endpoint> endpoints, HostMap hosts, PullLimits limits)
    : wait([](uint32_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }),
      endpoints_(std::move(endpoints)),
      hosts_(std::move(hosts)),
      limits_(limits),
      settled_(std::make_unique<std::once_flag[]>(endpoints_.size())),
      plain_(std::make_unique<std::atomic<bool>[]>(endpoints_.size())),
      credentials_asked_(std::make_unique<std::once_flag[]>(endpoints_.size())),
      credentials_errors_(endpoints_.size()),
      authorization_(endpoints_.size()),
      failed_(endpoints_.size()) {
  for (const Endpoint& endpoint : endpoints_) credentials_.push_back(endpoint.credentials);
}

Result<std::unique_ptr<Registry>> Registry::Create(std::vector<Endpoint> endpoints, HostMap hosts, PullLimits limits) {
  if (endpoints.empty()) return FailedPrecondition("there is nobody to ask");
  for (const Endpoint& endpoint : endpoints) {
    RETURN_IF_ERROR(OriginOf(endpoint.base).status());
    // Said at once, and not only to who meets a registry that wants them.
    RETURN_IF_ERROR(UserAndPassword(endpoint.credentials).status());
  }
  return std::unique_ptr<Registry>(new Registry(std::move(endpoints), std::move(hosts), limits));
}

// In their order, but those that had no manifest last.
std::vector<size_t> Registry::Order(For what) const {
  std::lock_guard lock(mutex_);
  std::vector<size_t> order;
  for (const bool failed : {false, true}) {
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      if (failed_[i] == failed && (what == For::kTag ? endpoints_[i].tags : endpoints_[i].content)) order.push_back(i);
    }
  }
  return order;
}

void Registry::Tell(size_t endpoint, const std::string& asked_for, const Status& verdict) const {
  if (on_attempt) on_attempt(endpoint, Name(endpoint), asked_for, verdict);
}

std::string Registry::CurrentEndpoint() const { return Name(answered_); }

// Plain HTTP only where an endpoint was configured so, or for hosts that the configuration names.
Status Registry::CheckScheme(const Origin& origin) const {
  if (origin.scheme == "https") return {};
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    Result<Origin> own = OriginOf(Base(i));
    if (own.ok() && *own == origin) return {};
  }
  for (const auto& [host, options] : hosts_) {
    if (!options.plain_http) continue;
    Result<Origin> own = OriginOf("http://" + host);
    if (own.ok() && *own == origin) return {};
  }
  return FailedPrecondition(
      fmt::format("refused to go to http://{0}: set plain_http for {0} to allow it", origin.host));
}

void Registry::ApplyTls(const Origin& origin, HttpRequest& request) const {
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    if (Result<Origin> own = OriginOf(Base(i)); own.ok() && *own == origin) {
      request.tls = endpoints_[i].tls;
      return;
    }
  }
  request.tls = TlsFor(hosts_, origin.host);
}

Result<Registry::Followed> Registry::Follow(CurlClient& client, size_t endpoint, const Request& request,
                                            const std::string& authorization, const BodySink& sink) {
  const Endpoint& asked = endpoints_[endpoint];
  HttpRequest http;
  http.url = fmt::format("{}/{}/{}", Base(endpoint), asked.repository, request.path);
  if (!asked.name_space.empty()) http.url += "?ns=" + UrlEncode(asked.name_space);
  http.max_body = request.max_body;
  http.connect_timeout_seconds = asked.connect_timeout_seconds;
  ASSIGN_OR_RETURN(const Origin first, OriginOf(http.url));
  bool left = false;  // for another origin; what comes then is that one's choice, also a way back
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    Result<Origin> named = OriginOf(http.url);
    if (!named.ok()) return FailedPrecondition("a redirect: " + named.status().message());
    const Origin& origin = *named;
    left = left || origin != first;
    RETURN_IF_ERROR(CheckScheme(origin));
    http.headers = request.headers;
    ApplyTls(origin, http);
    // What an administrator has set for this endpoint may be a secret too.
    if (!left) http.headers.insert(http.headers.end(), asked.headers.begin(), asked.headers.end());
    if (!authorization.empty() && !left) http.headers.push_back("Authorization: " + authorization);
    ASSIGN_OR_RETURN(HttpResponse response, client.Perform(http, sink));
    const bool redirect = response.status == 301 || response.status == 302 || response.status == 303 ||
                          response.status == 307 || response.status == 308;
    if (!redirect || response.redirect_url.empty()) return Followed{std::move(response), left ? origin.host : ""};
    http.url = response.redirect_url;
  }
  return FailedPrecondition(fmt::format("{}: more than {} redirects", Name(endpoint), kMaxRedirects));
}

Result<HttpResponse> Registry::Send(CurlClient& client, size_t endpoint, const Request& request, const BodySink& sink,
                                    Refusal& refusal) {
  refusal = Refusal();
  RETURN_IF_ERROR(SettleCredentials(endpoint));
  SettleScheme(client, endpoint);
  std::string authorization;
  {
    std::lock_guard lock(mutex_);
    authorization = authorization_[endpoint];
  }
  if (const std::string& token = credentials_[endpoint].registry_token; authorization.empty() && !token.empty()) {
    authorization = "Bearer " + token;
  }
  ASSIGN_OR_RETURN(Followed followed, Follow(client, endpoint, request, authorization, sink));
  HttpResponse& response = followed.response;
  if (response.status == 401 && !followed.elsewhere.empty()) {
    return Unauthenticated(
        fmt::format("it redirects to {0}, which wants credentials: none are sent to where a redirect "
                    "leads",
                    followed.elsewhere));
  }
  std::string challenges(response.Header("www-authenticate"));
  if (response.status != 401 || challenges.empty()) return std::move(response);
  Result<std::string> fresh = Authorize(client, endpoint, challenges, refusal);
  if (!fresh.ok()) {
    // Nothing to answer with: the registry's own 401 says more.
    if (fresh.code() == StatusCode::kUnauthenticated && fresh.status().message().empty()) return std::move(response);
    return fresh.status();
  }
  if (*fresh == authorization) return std::move(response);
  {
    std::lock_guard lock(mutex_);
    authorization_[endpoint] = *fresh;
  }
  ASSIGN_OR_RETURN(followed, Follow(client, endpoint, request, *fresh, sink));
  return std::move(followed.response);
}

Result<std::string> Registry::Authorize(CurlClient& client, size_t endpoint, std::string_view header,
                                        Refusal& refusal) {
  Status last = Unauthenticated("");
  for (const Challenge& challenge : ParseChallenges(header)) {
    if (challenge.scheme == "bearer" && challenge.params.count("realm") > 0) {
      Result<std::string> token = FetchToken(client, endpoint, challenge.params, refusal);
      if (token.ok()) return "Bearer " + *token;
      last = token.status();
    } else if (challenge.scheme == "basic") {
      ASSIGN_OR_RETURN(std::string pair, UserAndPassword(credentials_[endpoint]));
      if (!pair.empty()) return "Basic " + http::Base64Encode(pair);
    }
  }
  return last;
}

Result<std::string> Registry::FetchToken(CurlClient& client, size_t endpoint,
                                         const std::map<std::string, std::string>& params, Refusal& refusal) {
  auto param = [&](const std::string& name) {
    auto it = params.find(name);
    return it == params.end() ? std::string() : it->second;
  };
  const Endpoint& asker = endpoints_[endpoint];
  const Credentials& credentials = credentials_[endpoint];
  const std::string realm = param("realm");
  Result<Origin> named = OriginOf(realm);
  // The registry's fault, and not that of who pulls.
  if (!named.ok()) return FailedPrecondition("token server: " + named.status().message());
  const Origin& origin = *named;
  RETURN_IF_ERROR(CheckScheme(origin).Annotate("token server"));
  // The scope that we need, not the one asked for: a registry cannot make us fetch a token for more.
  const std::string scope = "repository:" + asker.repository + ":pull";
  HttpRequest request;
  request.max_body = kMaxTokenBytes;
  ApplyTls(origin, request);
  // A registry with an authority of its own has a token server with the same one; it may vouch for it, no more.
  request.tls.ca_files.insert(request.tls.ca_files.end(), asker.tls.ca_files.begin(), asker.tls.ca_files.end());
  std::string query = "scope=" + UrlEncode(scope);
  if (std::string service = param("service"); !service.empty()) query += "&service=" + UrlEncode(service);
  if (!credentials.identity_token.empty()) {
    request.url = realm;
    request.post =
        "grant_type=refresh_token&client_id=davit&refresh_token=" + UrlEncode(credentials.identity_token) + "&" + query;
  } else {
    request.url = realm + (realm.find('?') == std::string::npos ? "?" : "&") + query;
    ASSIGN_OR_RETURN(std::string pair, UserAndPassword(credentials));
    if (!pair.empty()) request.headers.push_back("Authorization: Basic " + http::Base64Encode(pair));
  }
  ASSIGN_OR_RETURN_WITH(HttpResponse response, client.Perform(request, BodySink()), "token server");
  const std::string where = "token server " + origin.host;
  if (response.status != 200) {
    refusal = {IsTransientStatus(response.status), std::string(response.Header("retry-after"))};
    return StatusOfAnswer(response, where, "a token for " + scope, !credentials.empty());
  }
  Result<boost::json::value> json = oci::ParseJson(response.body, kMaxTokenBytes, 16);
  if (!json.ok()) return FailedPrecondition(fmt::format("{}: {}", where, json.status().message()));
  oci::JsonNode node(*json, "answer");
  std::string token = node.Key("token").StringOr("").value_or("");
  if (token.empty()) token = node.Key("access_token").StringOr("").value_or("");
  const bool printable = std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (token.empty() || !printable) {
    return FailedPrecondition(fmt::format("{}: no token in its answer", where));
  }
  return token;
}

// Waits, and says whether to try again; `tries` counts those without progress.
bool Registry::Backoff(Status& error, uint32_t& tries, std::string_view retry_after) {
  if (++tries >= std::max(1U, limits_.retries)) return false;
  constexpr uint64_t kLongestWaitSeconds = 120;  // who says more is not waited for: the kubelet asks again
  uint32_t ms = 250U << std::min(tries, 6U);
  if (std::optional<uint64_t> seconds = RetryAfterSeconds(retry_after)) {
    if (*seconds > kLongestWaitSeconds) {
      error =
          Status(error.code(), fmt::format("{}; it wants to be asked again in {} seconds", error.message(), *seconds));
      return false;
    }
    ms = std::max(ms, static_cast<uint32_t>(*seconds) * 1000);
  }
  retries_.fetch_add(1);
  wait(ms);
  return true;
}

Result<FetchedManifest> Registry::GetManifest(CurlClient& client, const std::string& name) {
  Request request{"manifests/" + name, {std::string(kAccept)}, kMaxManifestBytes};
  const bool by_digest = name.find(':') != std::string::npos;
  const std::string asked_for = "manifest " + name;
  Status verdict;
  std::vector<size_t> passed;  // had nothing where another one has it
  for (size_t endpoint : Order(by_digest ? For::kContent : For::kTag)) {
    Status error;
    for (uint32_t tries = 0;;) {
      Refusal refusal;
      Result<HttpResponse> response = Send(client, endpoint, request, BodySink(), refusal);
      const std::string base = Name(endpoint);
      std::string retry_after;
      bool transient = false;
      if (!response.ok()) {
        error = response.status().Annotate(base);
        transient = client.transient() || refusal.transient;
        retry_after = refusal.retry_after;
      } else if (response->status == 200) {
        FetchedManifest out;
        out.text = std::move(response->body);
        out.digest = Sha256::Of(out.text);
        std::string type(response->Header("content-type"));
        out.media_type = Trim(std::string_view(type).substr(0, type.find(';')));
        std::string_view said = response->Header("docker-content-digest");
        const std::string wanted = by_digest ? name : std::string(said.starts_with("sha256:") ? said : "");
        if (!wanted.empty() && wanted != out.digest.ToString()) {
          error = DataLoss(
              fmt::format("{}: the manifest {} has the digest {}, not {}", base, name, out.digest.ToString(), wanted));
          break;
        }
        answered_ = endpoint;
        Tell(endpoint, asked_for, {});
        std::lock_guard lock(mutex_);
        for (size_t other : passed) failed_[other] = true;
        return out;
      } else {
        error = StatusOfAnswer(*response, base, fmt::format("{}/manifests/{}", endpoints_[endpoint].repository, name),
                               !credentials_[endpoint].empty());
        transient = IsTransientStatus(response->status);
        retry_after = response->Header("retry-after");
      }
      if (!transient || !Backoff(error, tries, retry_after)) break;
    }
    Tell(endpoint, asked_for, error);
    passed.push_back(endpoint);
    verdict = verdict.ok() ? error : Status(error.code(), verdict.message() + "; " + error.message());
  }
  if (verdict.ok()) {
    return FailedPrecondition(fmt::format("no endpoint that is configured may be asked for {} {}",
                                          by_digest ? "the digest" : "the tag", name));
  }
  return verdict;
}

Result<FetchedManifest> Registry::GetReferrers(CurlClient& client, const oci::Digest& digest) {
  const size_t endpoint = answered_;
  const std::string base = Name(endpoint);
  Request request{"referrers/" + digest.ToString(), {std::string(kAccept)}, kMaxManifestBytes};
  Refusal refusal;
  Result<HttpResponse> response = Send(client, endpoint, request, BodySink(), refusal);
  if (!response.ok()) return response.status().Annotate(base);
  if (response->status != 200) return StatusOfAnswer(*response, base, request.path, !credentials_[endpoint].empty());
  FetchedManifest out;
  out.text = std::move(response->body);
  out.digest = Sha256::Of(out.text);
  return out;
}

// One transfer, from `done` on.
Status Registry::TryBlob(CurlClient& client, size_t endpoint, const oci::Digest& digest, uint64_t size,
                         BlobTransfer& transfer, const std::function<Status(std::string_view)>& sink) {
  uint64_t& done = transfer.done;
  transfer.cut = false;
  transfer.refused = false;
  transfer.transient = false;
  transfer.retry_after.clear();
  SettleScheme(client, endpoint);
  const std::string base = Name(endpoint);
  Request request{"blobs/" + digest.ToString(), {}, 64 << 10};
  if (done > 0) request.headers.push_back(fmt::format("Range: bytes={}-", done));
  const uint64_t start = done;
  // A server that ignores Range sends the blob from its beginning: what we have is dropped again.
  uint64_t skip = 0;
  bool begun = false;
  bool failed = false;  // an error of ours, or of what came
  // What the headers tell, before a byte is taken that may be of something else: a page of a proxy, say.
  auto begin = [&](const HttpResponse& response) -> Status {
    transfer.refused = true;
    if (response.status == 206) {
      if (!response.Header("content-range").starts_with(fmt::format("bytes {}-", start))) {
        return DataLoss(fmt::format("{}: asked for bytes from {}, got \"{}\"", base, start,
                                    Printable(response.Header("content-range"))));
      }
    } else {
      skip = start;
    }
    const std::optional<uint64_t> length = ParseUint64(response.Header("content-length"));
    const uint64_t expected = response.status == 206 ? size - start : size;
    if (length && *length > expected) {
      return DataLoss(
          fmt::format("{}: blob {} is longer than the {} bytes that the manifest says", base, digest.ToString(), size));
    }
    if (length && *length < expected && response.status != 206) {
      return DataLoss(fmt::format("{}: blob {} has {} bytes there, and {} as the manifest says", base,
                                  digest.ToString(), *length, size));
    }
    transfer.refused = false;
    return {};
  };
  auto take = [&](const HttpResponse& response, std::string_view piece) -> Status {
    if (!begun) RETURN_IF_ERROR(begin(response));
    begun = true;
    uint64_t drop = std::min<uint64_t>(skip, piece.size());
    skip -= drop;
    piece.remove_prefix(drop);
    if (piece.size() > size - done) {
      return DataLoss(
          fmt::format("{}: blob {} is longer than the {} bytes that the manifest says", base, digest.ToString(), size));
    }
    done += piece.size();
    return sink(piece);
  };
  BodySink body = [&](const HttpResponse& response, std::string_view piece) -> Status {
    Status taken = take(response, piece);
    failed = failed || !taken.ok();
    return taken;
  };
  Refusal refusal;
  Result<HttpResponse> response = Send(client, endpoint, request, body, refusal);
  // All that there is has come, however the connection ended; whether it is right, the digest says.
  if (!response.ok() && begun && !failed && done == size) return {};
  if (!response.ok()) {
    transfer.transient = client.transient() || refusal.transient;
    transfer.retry_after = refusal.retry_after;
    return response.status().Annotate(base);
  }
  if (response->status != 200 && response->status != 206) {
    transfer.transient = IsTransientStatus(response->status);
    transfer.retry_after = response->Header("retry-after");
    return StatusOfAnswer(*response, base, "blob " + digest.ToString(), !credentials_[endpoint].empty());
  }
  if (done < size) {
    transfer.cut = true;
    transfer.transient = true;
    return DataLoss(fmt::format("{}: blob {} ended after {} of {} bytes", base, digest.ToString(), done, size));
  }
  return {};
}

Result<std::string> Registry::GetRange(CurlClient& client, size_t endpoint, const oci::Digest& digest, uint64_t offset,
                                       uint64_t size, const std::function<bool()>& go_on) {
  const std::string base = Name(endpoint);
  Request request{
      "blobs/" + digest.ToString(), {fmt::format("Range: bytes={}-{}", offset, offset + size - 1)}, 64 << 10};
  std::string out;
  BodySink take = [&](const HttpResponse& response, std::string_view piece) -> Status {
    if (!go_on()) return Cancelled("cancelled");
    const bool ours =
        response.status == 206 &&
        response.Header("content-range").starts_with(fmt::format("bytes {}-{}/", offset, offset + size - 1));
    if (!ours) return FailedPrecondition(base + " sends no ranges");
    if (piece.size() > size - out.size()) return DataLoss(base + " sends more than the range that was asked for");
    if (out.empty()) out.reserve(size);
    out.append(piece);
    return {};
  };
  Refusal refusal;
  ASSIGN_OR_RETURN_WITH(HttpResponse response, Send(client, endpoint, request, take, refusal), base);
  if (response.status != 206 || out.size() != size)
    return FailedPrecondition(
        fmt::format("{}: {} of {} bytes of a range, status {}", base, out.size(), size, response.status));
  return out;
}

// Any trouble is left to the one connection that goes on where this ends: it tries again, and it has the words.
Result<bool> Registry::TryPieces(size_t endpoint, const oci::Digest& digest, uint64_t size, BlobTransfer& transfer,
                                 const std::function<Status(std::string_view)>& sink) {
  if (!make_client || limits_.connections_per_layer < 2 || size - transfer.done < limits_.min_ranged_bytes)
    return false;
  PiecesOptions options;
  options.begin = transfer.done;
  options.size = size;
  options.connections = std::min(limits_.connections_per_layer, kMaxConnections);
  std::vector<std::unique_ptr<CurlClient>> clients;
  for (uint32_t i = 0; i < options.connections; ++i) {
    ASSIGN_OR_RETURN(std::unique_ptr<CurlClient> client, make_client());
    clients.push_back(std::move(client));
  }
  Status sink_error;
  Status done = FetchInPieces(
      options,
      [&](uint32_t connection, uint64_t offset, uint64_t bytes, const std::function<bool()>& go_on) {
        return GetRange(*clients[connection], endpoint, digest, offset, bytes, go_on);
      },
      [&](std::string_view piece) -> Status {
        transfer.done += piece.size();
        sink_error = sink(piece);
        return sink_error;
      });
  RETURN_IF_ERROR(sink_error);
  return done.ok();
}

Status Registry::GetBlob(CurlClient& client, const oci::Digest& digest, uint64_t size,
                         const std::function<Status(std::string_view)>& sink) {
  BlobTransfer transfer;
  const uint64_t& done = transfer.done;
  Status verdict;
  bool sink_failed = false;
  auto guarded = [&](std::string_view piece) -> Status {
    Status status = sink(piece);
    sink_failed = sink_failed || !status.ok();
    return status;
  };
  const std::string asked_for = "blob " + digest.ToString();
  std::set<size_t> liars;
  {
    std::lock_guard lock(mutex_);
    senders_[digest].last.clear();
    liars = senders_[digest].liars;
  }
  for (size_t endpoint : Order(For::kContent)) {
    if (liars.count(endpoint) != 0) continue;
    Status error;
    uint32_t total = 0;
    for (uint32_t tries = 0;;) {
      const uint64_t before = done;
      Result<bool> whole = total == 0 ? TryPieces(endpoint, digest, size, transfer, guarded) : Result<bool>(false);
      error = whole.ok() && !*whole ? TryBlob(client, endpoint, digest, size, transfer, guarded) : whole.status();
      if (done > before) {
        std::lock_guard lock(mutex_);
        senders_[digest].last.push_back(endpoint);
      }
      if (error.ok()) {
        Tell(endpoint, asked_for, {});
        return {};
      }
      if (sink_failed) return error;
      if (done > before) tries = 0;
      if (!transfer.transient || ++total > kMaxTriesWithProgress || !Backoff(error, tries, transfer.retry_after)) break;
    }
    Tell(endpoint, asked_for, error);
    verdict = verdict.ok() ? error : Status(error.code(), verdict.message() + "; " + error.message());
    // What we have may be wrong already. But where it only ended too early, or nothing was taken, the next endpoint
    // goes on.
    if (error.code() == StatusCode::kDataLoss && !transfer.cut && !transfer.refused) break;
  }
  if (verdict.ok()) return FailedPrecondition("no endpoint that is configured may be asked for " + asked_for);
  return verdict;
}

bool Registry::Blame(const oci::Digest& digest) {
  size_t liar = 0;
  {
    std::lock_guard lock(mutex_);
    Senders& senders = senders_[digest];
    if (senders.last.empty()) return false;
    liar = senders.last.front();
    senders.last.clear();
    senders.liars.insert(liar);
    failed_[liar] = true;
  }
  Tell(liar, "blob " + digest.ToString(), DataLoss("what it sent has another digest"));
  const std::vector<size_t> all = Order(For::kContent);
  std::lock_guard lock(mutex_);
  const std::set<size_t>& liars = senders_[digest].liars;
  return std::any_of(all.begin(), all.end(), [&](size_t endpoint) { return liars.count(endpoint) == 0; });
}

Result<std::string> Registry::GetSmallBlob(CurlClient& client, const oci::Digest& digest, uint64_t size, uint64_t max) {
  if (size > max)
    return ResourceExhausted(fmt::format("blob {} of {} bytes is over the limit of {}", digest.ToString(), size, max));
  while (true) {
    std::string out;
    RETURN_IF_ERROR(GetBlob(client, digest, size, [&](std::string_view piece) {
      out.append(piece);
      return Status();
    }));
    const oci::Digest got = Sha256::Of(out);
    if (got == digest) return out;
    if (!Blame(digest))
      return DataLoss(
          fmt::format("{}: blob {} has the digest {}", CurrentEndpoint(), digest.ToString(), got.ToString()));
  }
}

}  // namespace davit::image
