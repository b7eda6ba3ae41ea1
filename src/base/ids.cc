#include "base/ids.h"

#include <sys/random.h>

#include <cstdlib>

#include "base/strings.h"

namespace davit {

bool IsFullId(std::string_view text) {
  if (text.size() != 64) return false;
  for (char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

std::string MintId() {
  unsigned char bytes[32];
  size_t have = 0;
  while (have < sizeof bytes) {
    ssize_t n = ::getrandom(bytes + have, sizeof bytes - have, 0);
    // getrandom(2) fails only for EINTR or a kernel without it; there is no safe fallback.
    if (n < 0) {
      if (errno == EINTR) continue;
      std::abort();
    }
    have += static_cast<size_t>(n);
  }
  return HexEncode(std::string_view(reinterpret_cast<const char*>(bytes), sizeof bytes));
}

}  // namespace davit
