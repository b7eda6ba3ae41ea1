// Content: small blobs (manifests, indexes, image configs) under their digest.
//
//   <root>/content/sha256/<hex>
//
// Layers are not kept here: they are unpacked while they are fetched. A blob is checked against its
// digest when it is written and each time it is read, so a damaged one is noticed, removed and fetched
// again instead of being believed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "oci/digest.h"
#include "store/layers.h"

namespace davit::store {

// Thread-safe; calls block for the disk.
class Content {
 public:
  static constexpr size_t kMaxBlobBytes = size_t{16} << 20;

  // Creates <root>/content (0700) and removes what an interrupted write left there.
  static Result<std::unique_ptr<Content>> Open(const std::string& root);
  ~Content();

  // Durable when it returns; OK when the blob is there already. kInvalidArgument: the bytes do not
  // have that digest, or are too many; kResourceExhausted: disk full.
  Status Put(const oci::Digest& digest, std::string_view bytes);
  // kNotFound naming the digest; kDataLoss when the file did not match and was removed.
  Result<std::string> Get(const oci::Digest& digest);
  [[nodiscard]] bool Has(const oci::Digest& digest) const;
  // OK when there is no such blob.
  Status Remove(const oci::Digest& digest);
  Result<std::vector<oci::Digest>> List() const;
  // From memory.
  [[nodiscard]] DiskUsage Usage() const;

 private:
  struct State;
  explicit Content(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::store
