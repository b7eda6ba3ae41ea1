// TlsListener: clients by TCP, with TLS and certificates of their own. Each is given a connection to this server's own
// unix socket: nothing behind that knows of TLS.
//
// Nobody is let in without a certificate that the given authority has signed (docker --tlsverify): whoever speaks to
// this server is root on the node.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "sched/event_loop.h"
#include "sys/unique_fd.h"

namespace davit::api {

struct TlsFiles {
  std::string authority;    // PEM: who signs clients' certificates
  std::string certificate;  // PEM: ours, with its chain
  std::string key;          // PEM
  [[nodiscard]] bool complete() const { return !authority.empty() && !certificate.empty() && !key.empty(); }
};

// "0.0.0.0:2376", "[::1]:2376", "tcp://…". kInvalidArgument when it is no numeric address with a port.
Result<sys::UniqueFd> ListenTcp(const std::string& address);

class TlsListener {
 public:
  // `socket`: the path of the unix socket. `loop` outlives this. kInvalidArgument naming the file that is none, or does
  // not fit.
  static Result<std::unique_ptr<TlsListener>> Start(sched::EventLoop& loop, sys::UniqueFd listener,
                                                    const TlsFiles& files, std::string socket);
  // No further clients; those that are there stay.
  ~TlsListener();

 private:
  struct State;
  explicit TlsListener(std::shared_ptr<State> state) : state_(std::move(state)) {}
  const std::shared_ptr<State> state_;
};

}  // namespace davit::api
