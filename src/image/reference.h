// Reference: the name of an image as people write it, normalised the way every container tool does:
// "busybox" is docker.io/library/busybox:latest. Source: the distribution project's reference grammar
//   reference = name [":" tag] ["@" digest];  name = [domain "/"] path
// A value type: once parsed it is safe to put into URLs and records.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::image {

class Reference {
 public:
  // Strict: at most 255 bytes of domain and path together, 128 of tag; lower-case path; digest sha256
  // (64 hex) or sha512 (128 hex). Without tag and digest the tag is "latest". kInvalidArgument naming
  // the text (and, for an upper-case repository, saying so). 64 bare hex digits are refused: that is an
  // image id, see IsImageId.
  // "library://x" is another spelling of "cloud.sylabs.io/x", which the kubelet accepts (docs/images-sif.md).
  // `default_domain` is what a name without a registry belongs to; "library/" is added on docker.io only.
  static Result<Reference> Parse(std::string_view text, std::string_view default_domain = "docker.io");

  // Whether the text of a reference names a registry: its first component is a host name, "localhost", or has a port.
  static bool HasRegistry(std::string_view text);

  Reference() = default;  // empty: "none"; String() is ""

  [[nodiscard]] const std::string& domain() const { return domain_; }          // "docker.io", "host:5000"
  [[nodiscard]] const std::string& repository() const { return repository_; }  // "library/busybox"
  [[nodiscard]] const std::string& tag() const { return tag_; }                // empty: none
  [[nodiscard]] const std::string& digest() const { return digest_; }          // "sha256:…"; empty: none
  [[nodiscard]] bool empty() const { return domain_.empty(); }

  [[nodiscard]] std::string Name() const;          // "docker.io/library/busybox"
  [[nodiscard]] std::string FamiliarName() const;  // "busybox"; Parse() reads it back. For docker.io only, else Name()
  // "name:tag", empty without a tag. This is the form of ImageRecord::repo_tags.
  [[nodiscard]] std::string TaggedName() const;
  // "name@digest", empty without a digest. The form of ImageRecord::repo_digests.
  [[nodiscard]] std::string DigestedName() const;
  // The whole of it: "name:tag", "name@digest" or "name:tag@digest".
  [[nodiscard]] std::string String() const;
  // What the registry is asked for: the digest when there is one, else the tag.
  [[nodiscard]] const std::string& ManifestName() const { return digest_.empty() ? tag_ : digest_; }

  friend auto operator<=>(const Reference&, const Reference&) = default;

 private:
  std::string domain_;
  std::string repository_;
  std::string tag_;
  std::string digest_;
};

// One of the names that tools write Docker Hub's host by.
bool IsDockerHub(std::string_view host);

// "sha256:<64 lower-case hex>" or the 64 hex digits alone.
bool IsImageId(std::string_view text);
// May be the beginning of an image id: 3 to 64 lower-case hex digits, with or without "sha256:". Such a
// text can also be a repository name ("cafe"); Images::Resolve tries names first.
bool IsImageIdPrefix(std::string_view text);

}  // namespace davit::image
