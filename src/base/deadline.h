// Deadline: a point on the steady clock by which an operation must have an outcome. Passed down as a
// value, so that ten steps share one budget instead of each having its own timeout.
#pragma once

#include <algorithm>
#include <chrono>

namespace davit {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline Infinite() { return Deadline(Clock::time_point::max()); }
  static Deadline After(Clock::duration budget) {
    Clock::time_point now = Clock::now();
    // Clients send "for ever" as huge numbers; adding those to now() would overflow.
    if (budget >= Clock::time_point::max() - now) return Infinite();
    return Deadline(now + budget);
  }

  [[nodiscard]] bool infinite() const { return at_ == Clock::time_point::max(); }
  [[nodiscard]] bool expired() const { return !infinite() && Clock::now() >= at_; }
  [[nodiscard]] Clock::time_point at() const { return at_; }

  // Milliseconds left, rounded up, for poll(2): -1 when infinite, 0 when expired.
  [[nodiscard]] int PollTimeoutMs() const {
    if (infinite()) return -1;
    auto left = at_ - Clock::now();
    if (left <= Clock::duration::zero()) return 0;
    auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return static_cast<int>(std::min<long long>(ms, 0x7fffffff));
  }

  // The earlier of the two.
  [[nodiscard]] Deadline Min(Deadline other) const { return at_ < other.at_ ? *this : other; }

 private:
  explicit Deadline(Clock::time_point at) : at_(at) {}
  Clock::time_point at_;
};

}  // namespace davit
