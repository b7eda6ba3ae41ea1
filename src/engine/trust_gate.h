// TrustGate: whether this node takes an image, asked at the pull and again when a container or an image volume is made
// from it (docs/trust.md).
//
// The rules are read anew each time, so that a changed file counts at once. What was decided is kept in the image's
// record as a Verdict with the fingerprint of the rules: while that is the same, nothing is checked again; otherwise
// the signatures kept at the pull are, offline.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "image/images.h"
#include "image/puller.h"
#include "trust/policy.h"

namespace davit::store {
class Content;
}

namespace davit::engine {

inline constexpr const char* kDefaultPolicy = "/etc/containers/policy.json";

// Thread-safe; the calls block for files and, when signatures are looked at, for a process.
class TrustGate {
 public:
  // References outlive this. `helper`: the davit-pull program.
  TrustGate(const config::ImageConfig& config, std::string helper, image::Images& images, store::Content& content);

  // Fills what a pull collects and who checks it. kPermissionDenied when no signature could help: a reject, a policy
  // that is missing or broken.
  Status Prepare(image::PullRequest& request, const std::string& pod_namespace);

  // For an image that is here. `asked`: the name in the request, or an id; `named`: the name that the user gave, when
  // the request is by id. kPermissionDenied "SignatureValidationFailed: …".
  Status Check(const image::ImageRecord& image, const std::string& asked, const std::string& named,
               const std::string& pod_namespace);

  // Whether Check would take it under this name without looking at signatures: reads files only.
  bool Known(const image::ImageRecord& image, const image::Reference& name, const std::string& pod_namespace);

  // The rules for one name. For an error of a file kPermissionDenied too: without rules nothing is taken.
  [[nodiscard]] Result<trust::Decision> DecisionFor(const image::Reference& reference,
                                                    const std::string& pod_namespace) const;
  // OK, or what is wrong with the node's policy: for Status.
  [[nodiscard]] Status Ready() const;

 private:
  // The file that counts; empty: none, everything is taken.
  [[nodiscard]] Result<std::string> FileFor(const std::string& pod_namespace) const;
  enum class Effort { kLookUp, kVerify };
  Status CheckName(const image::ImageRecord& image, const image::Reference& name, const std::string& pod_namespace,
                   Effort effort);

  const config::ImageConfig& config_;
  const std::string helper_;
  image::Images& images_;
  store::Content& content_;
};

// The names under which an image that was asked for as `asked` (perhaps `named` by its user) has to be trusted: that
// name where the image has it, else each of the image's own.
std::vector<image::Reference> NamesToTrust(const image::ImageRecord& image, const std::string& asked,
                                           const std::string& named, const image::ShortNames& names);

}  // namespace davit::engine
