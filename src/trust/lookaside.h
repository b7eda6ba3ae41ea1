// Lookaside: where the OpenPGP signatures of an image are, by the *.yaml files of registries.d.
// Source: containers-registries.d(5).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/reference.h"

namespace davit::trust {

inline constexpr size_t kMaxLookasideBytes = 1 << 20;  // one file
inline constexpr size_t kMaxLookasideFiles = 256;

class Lookasides {
 public:
  // Texts by file name. kInvalidArgument "file: problem" for malformed files, unknown keys, and a namespace or a
  // default that two files have.
  static Result<Lookasides> Parse(const std::vector<std::pair<std::string, std::string>>& files);
  // The *.yaml files of a directory; one that is not there has none.
  static Result<Lookasides> Load(const std::string& directory);

  // The directory of this image's signatures: "<lookaside>/<namespace>/<repository>". The longest namespace counts,
  // then default-docker, then nothing.
  [[nodiscard]] std::optional<std::string> For(const image::Reference& reference) const;
  // Whether signatures beside the image in the registry are looked at (use-sigstore-attachments); true where unsaid.
  [[nodiscard]] bool Attachments(const image::Reference& reference) const;

 private:
  struct Entry {
    std::string file;
    std::string lookaside;  // URL; empty: none
    std::optional<bool> attachments;
  };
  [[nodiscard]] std::vector<const Entry*> Matching(const image::Reference& reference) const;

  std::optional<Entry> default_;
  std::map<std::string, Entry> docker_;
};

}  // namespace davit::trust
