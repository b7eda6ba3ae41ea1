#include "image/signature_fetch.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "http/base64.h"
#include "oci/image_spec.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr std::string_view kCosignLayer = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr std::string_view kCosignArtifact = "application/vnd.dev.cosign.artifact.sig.v1+json";
constexpr std::string_view kBundle = "application/vnd.dev.sigstore.bundle";
constexpr size_t kMaxNotes = 16;
constexpr size_t kMaxReferrers = 64;

class Collector {
 public:
  Collector(Registry& registry, CurlClient& client, SignatureSet& set)
      : registry_(registry), client_(client), set_(set) {}

  Status Lookaside(const std::string& directory, const oci::Digest& subject) {
    const std::string base = fmt::format("{}@sha256={}", directory, subject.hex());
    for (size_t n = 1; n <= kMaxSignatures; ++n) {
      const std::string url = fmt::format("{}/signature-{}", base, n);
      Result<std::string> bytes = FetchUrl(url);
      if (bytes.code() == StatusCode::kNotFound) {
        if (n == 1) Note("none at " + base);
        break;
      }
      if (!bytes.ok()) {
        Note(fmt::format("{}: {}", url, bytes.status().message()));
        break;
      }
      RETURN_IF_ERROR(Add({"openpgp", url, http::Base64Encode(*bytes), "", ""}));
    }
    return {};
  }

  Status Attached(const oci::Digest& subject) {
    RETURN_IF_ERROR(FromManifest("sha256-" + subject.hex() + ".sig"));
    Result<FetchedManifest> referrers = registry_.GetReferrers(client_, subject);
    if (!referrers.ok()) referrers = registry_.GetManifest(client_, "sha256-" + subject.hex());
    if (!referrers.ok()) {
      Note(fmt::format("referrers of {}: {}", subject.ToString(), referrers.status().message()));
      return {};
    }
    Result<oci::Index> index = oci::ParseIndex(referrers->text);
    if (!index.ok()) {
      Note(fmt::format("referrers of {}: {}", subject.ToString(), index.status().message()));
      return {};
    }
    size_t seen = 0;
    for (const oci::Descriptor& item : index->manifests) {
      const bool ours = item.artifact_type == kCosignArtifact || item.artifact_type.starts_with(kBundle);
      if (!ours || ++seen > kMaxReferrers) continue;
      RETURN_IF_ERROR(FromManifest(item.digest.ToString()));
    }
    return {};
  }

 private:
  Result<std::string> FetchUrl(const std::string& url) {
    if (url.starts_with("file://")) return sys::ReadFile(url.substr(7), kMaxSignatureBytes);
    HttpRequest request;
    request.url = url;
    request.max_body = kMaxSignatureBytes;
    ASSIGN_OR_RETURN(HttpResponse response, client_.Perform(request, BodySink()));
    if (response.status == 404) return NotFound("not there");
    if (response.status != 200) return Unavailable(fmt::format("answered {}", response.status));
    return std::move(response.body);
  }

  Status FromManifest(const std::string& name) {
    Result<FetchedManifest> fetched = registry_.GetManifest(client_, name);
    if (!fetched.ok()) {
      Note(fmt::format("{}: {}", name, fetched.status().message()));
      return {};
    }
    Result<oci::Manifest> manifest = oci::ParseManifest(fetched->text);
    if (!manifest.ok()) {
      Note(fmt::format("{}: {}", name, manifest.status().message()));
      return {};
    }
    for (size_t i = 0; i < manifest->layers.size(); ++i) {
      const oci::Descriptor& layer = manifest->layers[i];
      SignatureBlob blob{"", fmt::format("{}, layer {}", name, i + 1), "", "", ""};
      if (layer.media_type == kCosignLayer) {
        auto signature = layer.annotations.find("dev.cosignproject.cosign/signature");
        if (signature == layer.annotations.end()) continue;
        blob.kind = "cosign";
        blob.signature = signature->second;
        if (auto entry = layer.annotations.find("dev.sigstore.cosign/bundle"); entry != layer.annotations.end())
          blob.log_entry = http::Base64Encode(entry->second);
      } else if (layer.media_type.starts_with(kBundle)) {
        blob.kind = "bundle";
      } else {
        continue;
      }
      if (layer.digest.algorithm() != oci::DigestAlgorithm::kSha256) continue;
      Result<std::string> bytes = registry_.GetSmallBlob(client_, layer.digest, layer.size, kMaxSignatureBytes);
      if (!bytes.ok()) {
        Note(fmt::format("{}: {}", blob.source, bytes.status().message()));
        continue;
      }
      blob.data = http::Base64Encode(*bytes);
      RETURN_IF_ERROR(Add(std::move(blob)));
    }
    return {};
  }

  Status Add(SignatureBlob blob) {
    bytes_ += blob.data.size() + blob.signature.size() + blob.log_entry.size() + blob.source.size() + 64;
    if (set_.signatures.size() >= kMaxSignatures || bytes_ > kMaxSignatureSetBytes / 2)
      return ResourceExhausted(
          fmt::format("more than {} signatures, or {} bytes of them", kMaxSignatures, kMaxSignatureSetBytes / 2));
    set_.signatures.push_back(std::move(blob));
    return {};
  }

  void Note(std::string text) {
    if (set_.notes.size() < kMaxNotes) set_.notes.push_back(Printable(text, 300));
  }

  Registry& registry_;
  CurlClient& client_;
  SignatureSet& set_;
  size_t bytes_ = 0;
};

}  // namespace

Status CollectSignatures(Registry& registry, CurlClient& client, const SignatureWants& wants,
                         const std::vector<oci::Digest>& subjects, SignatureSet& set) {
  Collector collector(registry, client, set);
  if (wants.openpgp && wants.lookasides.empty()) set.notes.emplace_back("registries.d names no lookaside for it");
  for (const oci::Digest& subject : subjects) {
    if (wants.openpgp) {
      for (const std::string& directory : wants.lookasides) RETURN_IF_ERROR(collector.Lookaside(directory, subject));
    }
    if (wants.sigstore) RETURN_IF_ERROR(collector.Attached(subject));
  }
  return {};
}

}  // namespace davit::image
