#include "cmd/davitd/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/log.h"
#include "sys/unique_fd.h"

namespace davit::cmd {

void NotifyReady() {
  const char* path = ::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  std::string_view text(path);
  if (text.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, text.data(), text.size());
  // systemd writes an abstract address with '@' for the leading NUL.
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
  sys::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr std::string_view kReady = "READY=1";
  if (!fd.valid() || ::sendto(fd.get(), kReady.data(), kReady.size(), MSG_NOSIGNAL,
                              reinterpret_cast<sockaddr*>(&address), length) < 0) {
    LogWarning("tell the service manager that davitd is ready: {}", std::strerror(errno));
  }
}

}  // namespace davit::cmd
