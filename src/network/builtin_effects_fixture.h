// For tests: what can be reached from where on a node, and with which source address it arrives.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/strings.h"
#include "network/network.h"
#include "network/prefix.h"
#include "sys/namespaces.h"
#include "sys/unique_fd.h"

namespace davit::network {

// A socket keeps the namespace in which it was made: `netns` empty is the calling thread's.
inline sys::UniqueFd SocketIn(const std::string& netns, int family, int type, int protocol) {
  sys::UniqueFd fd;
  const auto make = [&] {
    fd.reset(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    return fd.valid() ? Status() : ErrnoError(errno, "socket");
  };
  Status made = netns.empty() ? make() : sys::RunInNamespace(netns, sys::NamespaceKind::kNet, make);
  EXPECT_TRUE(made.ok()) << made.ToString();
  return fd;
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  static SocketAddress Of(const std::string& ip, int port) {
    SocketAddress out;
    if (ip.find(':') != std::string::npos) {
      auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(static_cast<uint16_t>(port));
      EXPECT_EQ(::inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr), 1) << ip;
      out.size = sizeof *v6;
    } else {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
      v4->sin_family = AF_INET;
      v4->sin_port = htons(static_cast<uint16_t>(port));
      EXPECT_EQ(::inet_pton(AF_INET, ip.c_str(), &v4->sin_addr), 1) << ip;
      out.size = sizeof *v4;
    }
    return out;
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] std::string Ip() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (storage.ss_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
      ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    } else {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
      ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    }
    std::string ip = text;
    return ip.rfind("::ffff:", 0) == 0 ? ip.substr(7) : ip;
  }
};

inline bool Readable(const sys::UniqueFd& fd, int milliseconds, short events = POLLIN) {
  pollfd waiting{fd.get(), events, 0};
  return ::poll(&waiting, 1, milliseconds) == 1;
}

// Listens on every address of a namespace.
inline sys::UniqueFd ServerIn(const std::string& netns, bool tcp, int port) {
  sys::UniqueFd fd = SocketIn(netns, AF_INET6, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
  SocketAddress any = SocketAddress::Of("::", port);
  EXPECT_EQ(::bind(fd.get(), any.get(), any.size), 0) << std::strerror(errno);
  if (tcp) {
    EXPECT_EQ(::listen(fd.get(), 16), 0);
  }
  return fd;
}

constexpr int kNotThere = 150;  // milliseconds after which nothing comes any more between links of one machine

// "from ADDRESS" as the server sees it, or why not.
inline std::string TryTcp(const std::string& from, const std::string& ip, int port, const sys::UniqueFd& server) {
  sys::UniqueFd client = SocketIn(from, ip.find(':') != std::string::npos ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  SocketAddress to = SocketAddress::Of(ip, port);
  const int begun = ::connect(client.get(), to.get(), to.size);
  if (begun != 0 && errno != EINPROGRESS) return std::strerror(errno);
  if (!Readable(client, kNotThere * 2, POLLOUT)) return "no answer";
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return std::strerror(error);
  if (!Readable(server, kNotThere)) return "somebody else answers";
  SocketAddress peer;
  sys::UniqueFd accepted(::accept4(server.get(), peer.get(), &peer.size, SOCK_CLOEXEC));
  return accepted.valid() ? "from " + peer.Ip() : std::strerror(errno);
}

inline std::string TryUdpWith(const sys::UniqueFd& client, const std::string& ip, int port,
                              const sys::UniqueFd& server) {
  SocketAddress to = SocketAddress::Of(ip, port);
  if (::connect(client.get(), to.get(), to.size) != 0) return std::strerror(errno);
  if (::send(client.get(), "?", 1, 0) != 1) return std::strerror(errno);
  if (!Readable(server, kNotThere)) return "nothing arrives";
  char byte = 0;
  SocketAddress peer;
  if (::recvfrom(server.get(), &byte, 1, 0, peer.get(), &peer.size) != 1) return std::strerror(errno);
  if (::sendto(server.get(), "!", 1, 0, peer.get(), peer.size) != 1) return std::strerror(errno);
  if (!Readable(client, kNotThere)) return "no answer, from " + peer.Ip();
  if (::recv(client.get(), &byte, 1, 0) != 1) return std::strerror(errno);
  return "from " + peer.Ip();
}

inline std::string TryUdp(const std::string& from, const std::string& ip, int port, const sys::UniqueFd& server) {
  return TryUdpWith(SocketIn(from, ip.find(':') != std::string::npos ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), ip, port,
                    server);
}

inline uint32_t Crc32c(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

// The first packet of an SCTP association (RFC 9260), without an SCTP of the kernel's at either end. "from ADDRESS to
// port N" as the pod sees it.
inline std::string TrySctp(const std::string& from, const std::string& ip, int port, const std::string& pod) {
  sys::UniqueFd server = SocketIn(pod, AF_INET, SOCK_RAW, IPPROTO_SCTP);
  sys::UniqueFd client = SocketIn(from, AF_INET, SOCK_RAW, IPPROTO_SCTP);
  std::string packet = {0x55, 0x55, static_cast<char>(port >> 8), static_cast<char>(port), 0, 0, 0, 0, 0, 0, 0, 0};
  packet += std::string("\x01\x00\x00\x14\x11\x22\x33\x44\x00\x00\x80\x00\x00\x01\x00\x01\x00\x00\x00\x01", 20);
  const uint32_t crc = Crc32c(packet);
  std::memcpy(packet.data() + 8, &crc, sizeof crc);
  SocketAddress to = SocketAddress::Of(ip, 0);
  if (::sendto(client.get(), packet.data(), packet.size(), 0, to.get(), to.size) < 0) return std::strerror(errno);
  if (!Readable(server, kNotThere)) return "nothing arrives";
  char answer[256];
  SocketAddress peer;
  const ssize_t n = ::recvfrom(server.get(), answer, sizeof answer, 0, peer.get(), &peer.size);
  if (n < 24) return "too short";
  const auto* ports = reinterpret_cast<const unsigned char*>(answer) + (answer[0] & 0xf) * 4;
  return "from " + peer.Ip() + " to port " + std::to_string(ports[2] << 8 | ports[3]);
}

}  // namespace davit::network
