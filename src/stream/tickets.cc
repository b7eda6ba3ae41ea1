#include "stream/tickets.h"

#include <algorithm>

#include "base/ids.h"

namespace davit::stream {
namespace {

constexpr size_t kTokenDigits = 40;

// Time does not depend on where the texts differ. Both have kTokenDigits.
bool ConstantTimeEquals(std::string_view a, std::string_view b) {
  unsigned char difference = 0;
  for (size_t i = 0; i < kTokenDigits; ++i) {
    difference |= static_cast<unsigned char>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

// Whose session it is to be.
std::string Target(const TicketRequest& request) {
  if (const auto* exec = std::get_if<ExecRequest>(&request)) return exec->container.str();
  if (const auto* attach = std::get_if<AttachRequest>(&request)) return attach->container.str();
  return std::get<PortForwardRequest>(request).pod.str();
}

}  // namespace

std::string_view KindName(const TicketRequest& request) {
  constexpr std::string_view kNames[] = {"exec", "attach", "portforward"};
  return kNames[request.index()];
}

Tickets::Tickets(size_t max_pending, size_t max_of_target, Clock::duration lifetime,
                 std::function<Clock::time_point()> now)
    : max_pending_(max_pending), max_of_target_(max_of_target), lifetime_(lifetime), now_(std::move(now)) {}

Result<std::string> Tickets::Mint(TicketRequest request) {
  std::string token = MintId().substr(0, kTokenDigits);
  Clock::time_point now = now_();
  std::lock_guard lock(mutex_);
  std::erase_if(tickets_, [&](const Ticket& ticket) { return ticket.expires <= now; });
  if (tickets_.size() >= max_pending_) {
    return ResourceExhausted("mint " + std::string(KindName(request)) + " ticket: " + std::to_string(max_pending_) +
                             " tickets wait for their clients");
  }
  const std::string target = Target(request);
  auto same = std::count_if(tickets_.begin(), tickets_.end(),
                            [&](const Ticket& ticket) { return Target(ticket.request) == target; });
  if (static_cast<size_t>(same) >= max_of_target_) {
    return ResourceExhausted("mint " + std::string(KindName(request)) + " ticket: " + std::to_string(same) +
                             " tickets of " + target.substr(0, 13) + " wait for their clients");
  }
  tickets_.push_back({token, now + lifetime_, std::move(request)});
  return token;
}

std::vector<Tickets::Ticket>::const_iterator Tickets::FindLocked(std::string_view kind, std::string_view token) const {
  auto found = tickets_.end();
  if (token.size() != kTokenDigits) return found;
  Clock::time_point now = now_();
  // Every ticket is looked at, found or not.
  for (auto it = tickets_.begin(); it != tickets_.end(); ++it) {
    if (ConstantTimeEquals(it->token, token) && it->expires > now && KindName(it->request) == kind) found = it;
  }
  return found;
}

Result<TicketRequest> Tickets::Peek(std::string_view kind, std::string_view token) const {
  std::lock_guard lock(mutex_);
  auto it = FindLocked(kind, token);
  if (it == tickets_.end()) return NotFound("no such ticket");
  return it->request;
}

Result<TicketRequest> Tickets::Redeem(std::string_view kind, std::string_view token) {
  std::lock_guard lock(mutex_);
  auto it = FindLocked(kind, token);
  if (it == tickets_.end()) return NotFound("no such ticket");
  Result<TicketRequest> request(it->request);
  tickets_.erase(it);
  return request;
}

}  // namespace davit::stream
