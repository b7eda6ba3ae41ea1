#include "sys/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <ctime>

namespace davit::sys {

Result<UniqueFd> LockFile(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd lock, Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  constexpr int kTries = 60;
  constexpr timespec kBetween{0, 50'000'000};
  for (int tried = 0; tried < kTries; ++tried) {
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoError(errno, "lock " + path);
    if (tried + 1 < kTries) ::nanosleep(&kBetween, nullptr);
  }
  return FailedPrecondition(path + " is locked by another process");
}

}  // namespace davit::sys
