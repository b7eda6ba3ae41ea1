// Tickets: what an RPC promised, kept until the client comes for it. A token names a ticket, works once
// and for a minute, and carries nothing.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "stream/backend.h"

namespace davit::stream {

using TicketRequest = std::variant<ExecRequest, AttachRequest, PortForwardRequest>;

// "exec", "attach", "portforward": the first component of the URL's path.
std::string_view KindName(const TicketRequest& request);

class Tickets {
 public:
  using Clock = std::chrono::steady_clock;

  // `now` is for tests.
  Tickets(size_t max_pending, size_t max_of_target, Clock::duration lifetime,
          std::function<Clock::time_point()> now = Clock::now);

  // The token: 40 hex digits, 160 random bits. kResourceExhausted when max_pending live ones wait, or max_of_target
  // of the same container or pod. Any thread.
  Result<std::string> Mint(TicketRequest request);

  // A copy of the request; kNotFound for every reason alike. The ticket stays, so that a client whose
  // protocol was refused may come again with another. Any thread.
  [[nodiscard]] Result<TicketRequest> Peek(std::string_view kind, std::string_view token) const;

  // Takes the ticket: the second call gets kNotFound. Any thread.
  Result<TicketRequest> Redeem(std::string_view kind, std::string_view token);

 private:
  struct Ticket {
    std::string token;
    Clock::time_point expires;
    TicketRequest request;
  };
  [[nodiscard]] std::vector<Ticket>::const_iterator FindLocked(std::string_view kind, std::string_view token) const;

  const size_t max_pending_;
  const size_t max_of_target_;
  const Clock::duration lifetime_;
  const std::function<Clock::time_point()> now_;
  mutable std::mutex mutex_;
  std::vector<Ticket> tickets_;
};

}  // namespace davit::stream
