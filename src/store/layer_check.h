// LayerVerifier: whether a layer on the disk is still what was unpacked.
//
// A layer is kept unpacked and only unpacked, so its digest says nothing of what is there now. What can be compared
// with comes from elsewhere, and each source is a verifier; the strongest that has something for a layer decides:
//
//   ChecksumVerifier   a list of what each entry was when the layer was first verified (<layer>/checksums)
//   JournalVerifier    checksums of the files' contents that were taken while they were unpacked
//                      (image/journal_verifier.h), and then the counts
//   CountVerifier      the layer's record: number of inodes, bytes of content; makes the list where they agree
//
// What is read is what containers
// would read: the page cache where a file is in it. Format of the list: docs/formats/store.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/layers.h"

namespace davit::store {

struct LayerDamage {
  std::string path;  // in the layer, without a slash in front ("/": its root); empty: the layer as a whole
  std::string what;  // "is missing", "its content or metadata differ", ...
};

struct LayerFindings {
  static constexpr size_t kMaxNamed = 20;
  std::string method;                // what it was compared with: "checksums", "journal", "counts"
  std::vector<LayerDamage> damaged;  // the first ones
  uint64_t damages = 0;              // all of them
  uint64_t entries = 0;              // looked at
  uint64_t bytes = 0;                // of content that was read

  void Add(std::string path, std::string what);
};

// Called after each piece of work with the bytes that it read; false: end it (kCancelled).
using CheckProgress = std::function<bool(uint64_t bytes)>;

class LayerVerifier {
 public:
  virtual ~LayerVerifier() = default;
  // kNotFound: there is nothing that this verifier could compare the layer with. kCancelled. Other errors: it could not
  // be looked at, which is no damage.
  virtual Result<LayerFindings> Verify(const Layer& layer, const CheckProgress& progress) = 0;
};

class ChecksumVerifier final : public LayerVerifier {
 public:
  Result<LayerFindings> Verify(const Layer& layer, const CheckProgress& progress) override;
};

class CountVerifier final : public LayerVerifier {
 public:
  Result<LayerFindings> Verify(const Layer& layer, const CheckProgress& progress) override;
};

// Writes the list of a layer, durable. Nothing is left of one that is not finished. Adds what it looked at.
Status WriteChecksums(const Layer& layer, const CheckProgress& progress, LayerFindings& findings);

}  // namespace davit::store
