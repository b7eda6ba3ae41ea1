// OpenPGP signatures, by calling gpg in a home of its own that has the policy's keys and nothing else (adr/0021).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace davit::trust {

// A directory on a file system in memory, or a temporary one, with imported keys. Removed with this object.
class KeyRing {
 public:
  // `keys`: base64 of rings, armoured or not. kInvalidArgument when one has no key; kFailedPrecondition when gpg is not
  // installed.
  static Result<KeyRing> Import(const std::vector<std::string>& keys, Deadline deadline);
  KeyRing(KeyRing&& other) noexcept : directory_(std::move(other.directory_)) { other.directory_.clear(); }
  KeyRing& operator=(KeyRing&&) = delete;
  ~KeyRing();

  // The text that `message`, an OpenPGP message with one signature, contains. kPermissionDenied: no good signature by
  // one of the keys: by another's, broken, or by a key or with a signature that is expired or revoked.
  Result<std::string> Open(std::string_view message, Deadline deadline) const;

 private:
  explicit KeyRing(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

// gpg's --status-fd lines as a verdict: exactly one signature and that a good one. Pure.
Status VerdictOfStatus(std::string_view status_lines);

}  // namespace davit::trust
