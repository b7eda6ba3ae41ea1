// Registry: the OCI distribution protocol for one repository: endpoints (endpoint.h) in order, authentication,
// redirects, retries and resumption.
//
// Credentials belong to one endpoint. They go to its host over the scheme that the configuration allows, to
// the token server that this host names, and nowhere else: a redirect to another scheme, host or port is
// followed without them (CVE-2019-10214, CVE-2020-15157), also where it leads back, and a challenge that comes
// from behind a redirect is answered by nobody: it would name a token server of its own. URLs inside descriptors are
// not looked at.
//
// Source: OCI distribution-spec 1.1 (GET manifests and blobs), the distribution project's token
// authentication ("Docker Registry v2 authentication"), RFC 6750, RFC 7617.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/curl_client.h"
#include "image/endpoint.h"
#include "image/image_source.h"
#include "image/pull_options.h"
#include "oci/image_spec.h"

namespace davit::image {

// Thread-safe; each thread brings its CurlClient.
class Registry {
 public:
  // `hosts` is for those that redirects and token servers lead to.
  static Result<std::unique_ptr<Registry>> Create(std::vector<Endpoint> endpoints, HostMap hosts, PullLimits limits);

  // By tag or digest; with a digest the text is checked against it (kDataLoss). Tries the endpoints that may be asked
  // in order; those that failed are asked last from then on. The last endpoint's code counts, the text has the verdict
  // of all. kFailedPrecondition when none may be asked.
  Result<FetchedManifest> GetManifest(CurlClient& client, const std::string& name);

  // The index of the manifests that name `digest` as their subject (distribution-spec, "Listing Referrers"), from the
  // endpoint that had the image. kNotFound where the registry has no such list.
  Result<FetchedManifest> GetReferrers(CurlClient& client, const oci::Digest& digest);

  // Streams a blob of known size into `sink` exactly once, over retries: a broken transfer goes on where
  // it ended. The caller checks the digest. kDataLoss when there is more or less than `size`.
  Status GetBlob(CurlClient& client, const oci::Digest& digest, uint64_t size,
                 const std::function<Status(std::string_view)>& sink);
  // What the last GetBlob of this digest streamed had another one: who sent it, or sent it first, is not asked for this
  // blob again, and last for others. False: there is nobody else to ask.
  bool Blame(const oci::Digest& digest);
  // Whether there is more than one who may be asked for blobs.
  [[nodiscard]] bool HasSeveral() const { return Order(For::kContent).size() > 1; }
  // A small blob (a config), checked against its digest.
  Result<std::string> GetSmallBlob(CurlClient& client, const oci::Digest& digest, uint64_t size, uint64_t max);

  [[nodiscard]] std::string CurrentEndpoint() const;
  [[nodiscard]] uint32_t retries() const { return retries_; }

  // Called once for each endpoint with `ask_credentials`, before the first request to it, on the thread that makes it;
  // blocks. Its error is the endpoint's. Set it before other calls.
  std::function<Result<Credentials>(size_t endpoint)> ask_credentials;
  // For the further connections of a large blob (PullLimits::connections_per_layer); empty: it has one.
  std::function<Result<std::unique_ptr<CurlClient>>()> make_client;
  // Waits between tries; tests replace it. The default sleeps.
  std::function<void(uint32_t milliseconds)> wait;
  // Told what each endpoint said (its number, its URL without "/v2"), on the thread that asked. May be empty.
  std::function<void(size_t number, const std::string& name, const std::string& asked_for, const Status& verdict)>
      on_attempt;

 private:
  struct Request;
  struct Followed;
  struct Refusal;
  Registry(std::vector<Endpoint> endpoints, HostMap hosts, PullLimits limits);
  // One request with authentication and redirects; the final answer, whatever its status.
  Result<HttpResponse> Send(CurlClient& client, size_t endpoint, const Request& request, const BodySink& sink,
                            Refusal& refusal);
  Result<Followed> Follow(CurlClient& client, size_t endpoint, const Request& request, const std::string& authorization,
                          const BodySink& sink);
  // The Authorization header that answers the challenges, or kUnauthenticated.
  Result<std::string> Authorize(CurlClient& client, size_t endpoint, std::string_view challenges, Refusal& refusal);
  Result<std::string> FetchToken(CurlClient& client, size_t endpoint, const std::map<std::string, std::string>& params,
                                 Refusal& refusal);
  bool Backoff(Status& error, uint32_t& tries, std::string_view retry_after);
  void SettleScheme(CurlClient& client, size_t endpoint);
  Status SettleCredentials(size_t endpoint);
  // Endpoint's, with the scheme that was settled.
  [[nodiscard]] std::string Base(size_t endpoint) const;
  [[nodiscard]] std::string Name(size_t endpoint) const;
  Status CheckScheme(const Origin& origin) const;
  // TLS for an origin: that of an endpoint or of `hosts`.
  void ApplyTls(const Origin& origin, HttpRequest& request) const;
  struct BlobTransfer {
    uint64_t done = 0;        // bytes that went to the sink, over all tries
    bool cut = false;         // the last try ended too early, as if the blob were shorter
    bool refused = false;     // the last answer was not the blob, of which its headers told: no byte of it was taken
    bool transient = false;   // the error of the last try may pass
    std::string retry_after;  // of the last try
  };
  Status TryBlob(CurlClient& client, size_t endpoint, const oci::Digest& digest, uint64_t size, BlobTransfer& transfer,
                 const std::function<Status(std::string_view)>& sink);
  // The bytes from `offset` on, exactly `size`.
  Result<std::string> GetRange(CurlClient& client, size_t endpoint, const oci::Digest& digest, uint64_t offset,
                               uint64_t size, const std::function<bool()>& go_on);
  // As much of a large blob as comes over several connections; true: all of it. What is left is for one connection.
  Result<bool> TryPieces(size_t endpoint, const oci::Digest& digest, uint64_t size, BlobTransfer& transfer,
                         const std::function<Status(std::string_view)>& sink);
  enum class For { kTag, kContent };
  [[nodiscard]] std::vector<size_t> Order(For what) const;
  void Tell(size_t endpoint, const std::string& asked_for, const Status& verdict) const;

  const std::vector<Endpoint> endpoints_;
  HostMap hosts_;
  PullLimits limits_;
  // For each endpoint; who is never asked is never probed either.
  std::unique_ptr<std::once_flag[]> settled_;
  std::unique_ptr<std::atomic<bool>[]> plain_;
  // Written under credentials_asked_, and read after it.
  std::unique_ptr<std::once_flag[]> credentials_asked_;
  std::vector<Credentials> credentials_;
  std::vector<Status> credentials_errors_;
  std::atomic<size_t> answered_{0};  // the one that had the last manifest
  std::atomic<uint32_t> retries_{0};
  mutable std::mutex mutex_;
  std::vector<std::string> authorization_;  // for each endpoint, once known; guarded by mutex_
  std::vector<bool> failed_;                // endpoints that lacked what a later one has; guarded by mutex_
  struct Senders {
    std::vector<size_t> last;  // of the bytes of the last GetBlob, in order
    std::set<size_t> liars;    // who had other bytes
  };
  std::map<oci::Digest, Senders> senders_;  // guarded by mutex_
};

// The registry over one connection of its own.
class RegistrySource final : public ImageSource {
 public:
  RegistrySource(Registry& registry, std::unique_ptr<CurlClient> client)
      : registry_(registry), client_(std::move(client)) {}
  Result<FetchedManifest> Manifest(const std::string& name) override { return registry_.GetManifest(*client_, name); }
  Result<std::string> SmallBlob(const oci::Digest& digest, uint64_t size, uint64_t max) override {
    return registry_.GetSmallBlob(*client_, digest, size, max);
  }
  Status Blob(const oci::Digest& digest, uint64_t size, const std::function<Status(std::string_view)>& sink) override {
    return registry_.GetBlob(*client_, digest, size, sink);
  }

 private:
  Registry& registry_;
  std::unique_ptr<CurlClient> client_;
};

}  // namespace davit::image
