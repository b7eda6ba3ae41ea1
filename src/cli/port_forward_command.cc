// davit port-forward: listens on loopback and gives each connection its own tunnel.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "cli/commands.h"
#include "cli/port_forward.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

constexpr int kMostConnections = 64;
constexpr size_t kMostPorts = 32;

struct Listener {
  sys::UniqueFd fd;
  PortPair ports;
};

Result<Listener> Listen(PortPair ports) {
  Listener listener{sys::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), ports};
  int on = 1;
  ::setsockopt(listener.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(ports.local);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  std::string what = fmt::format("listen on 127.0.0.1:{}", ports.local);
  if (::bind(listener.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return ErrnoError(errno, what);
  if (::listen(listener.fd.get(), 16) != 0) return ErrnoError(errno, what);
  if (::getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return ErrnoError(errno, what);
  listener.ports.local = ntohs(address.sin_port);
  return listener;
}

// A ticket of its own for each connection: they are single use.
Status Carry(const Context& context, const std::string& pod, uint16_t port, sys::UniqueFd local) {
  cri::PortForwardRequest request;
  request.set_pod_sandbox_id(pod);
  request.add_port(port);
  ASSIGN_OR_RETURN(cri::PortForwardResponse response, context.client.Call(request));
  return ForwardConnection(std::move(local), response.url(), port).Annotate(fmt::format("port {}", port));
}

}  // namespace

Result<int> PortForward(const Context& context, const std::string& text, const std::vector<std::string>& ports) {
  if (ports.size() > kMostPorts) return InvalidArgument(fmt::format("more than {} ports", kMostPorts));
  ASSIGN_OR_RETURN(std::string pod, ResolvePod(context, text));
  std::vector<Listener> listeners;
  for (const std::string& word : ports) {
    ASSIGN_OR_RETURN(PortPair pair, ParsePortPair(word));
    ASSIGN_OR_RETURN(Listener listener, Listen(pair));
    PrintLine(fmt::format("127.0.0.1:{} -> {}", listener.ports.local, listener.ports.remote));
    listeners.push_back(std::move(listener));
  }
  std::vector<pollfd> polled;
  for (const Listener& listener : listeners) polled.push_back({listener.fd.get(), POLLIN, 0});
  // The threads end with the process: this loop has no other end than a signal.
  std::atomic<int> open{0};
  for (;;) {
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    for (size_t i = 0; i < polled.size(); ++i) {
      if ((polled[i].revents & POLLIN) == 0) continue;
      sys::UniqueFd local(::accept4(polled[i].fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (!local.valid()) continue;
      if (open >= kMostConnections) {
        PrintError(ResourceExhausted(fmt::format("port-forward: {} connections are open", kMostConnections)));
        continue;
      }
      ++open;
      std::thread([&context, &open, &pod, port = listeners[i].ports.remote, fd = std::move(local)]() mutable {
        if (Status status = Carry(context, pod, port, std::move(fd)); !status.ok())
          PrintError(status.Annotate("port-forward"));
        --open;
      }).detach();
    }
  }
}

}  // namespace davit::cli
