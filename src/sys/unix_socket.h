// AF_UNIX sockets in the filesystem (never abstract: CVE-2020-15257), with descriptor passing.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "sys/unique_fd.h"

namespace davit::sys {

// Binds and listens at `path`, mode 0600 (or `mode`), replacing a socket that is already there. Paths
// over the 107 bytes of sun_path work: the bind goes through /proc/self/fd of the directory.
Result<UniqueFd> ListenUnix(const std::string& path, int type, unsigned mode = 0600);
// kNotFound when there is no socket, kUnavailable when nobody listens.
Result<UniqueFd> ConnectUnix(const std::string& path, int type);
Result<UniqueFd> AcceptUnix(int listen_fd);  // close-on-exec

// SO_PEERCRED.
struct PeerCredentials {
  pid_t pid = -1;
  uid_t uid = 0;
  gid_t gid = 0;
};
Result<PeerCredentials> PeerOf(int fd);

// One sendmsg(2) of a whole message with descriptors (at most 16), for SOCK_SEQPACKET.
Status SendWithFds(int fd, std::string_view data, const std::vector<int>& fds);
struct Message {
  std::string data;  // empty: the peer closed
  std::vector<UniqueFd> fds;
};
// One message of at most max_bytes; kOutOfRange when it was longer (MSG_TRUNC). Waits until the deadline.
Result<Message> ReceiveWithFds(int fd, size_t max_bytes, Deadline deadline);

}  // namespace davit::sys
