// Address and Prefix: IPv4 and IPv6 addresses as values, and the subnets that they lie in. Pure functions.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::network {

struct Address {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // an IPv4 address in the first four

  // nullopt when it is none; no zone, no blanks, no NUL.
  static std::optional<Address> Parse(std::string_view text);
  [[nodiscard]] std::string ToString() const;
  [[nodiscard]] size_t size() const { return v6 ? 16 : 4; }
  [[nodiscard]] int bits() const { return v6 ? 128 : 32; }
  // The next one up; all ones becomes all zeroes.
  [[nodiscard]] Address Next() const;

  friend auto operator<=>(const Address&, const Address&) = default;
};

struct Prefix {
  Address address;  // host bits are zero
  int length = 0;

  // "10.89.0.0/24". kInvalidArgument when it is none. Host bits are taken away: "10.89.0.5/24" is the same subnet.
  static Result<Prefix> Parse(std::string_view text);
  static Prefix Of(Address address, int length);
  [[nodiscard]] std::string ToString() const;

  [[nodiscard]] bool Contains(const Address& address) const;
  [[nodiscard]] bool Overlaps(const Prefix& other) const;
  // The last address of it: the broadcast address of an IPv4 subnet.
  [[nodiscard]] Address Last() const;

  friend auto operator<=>(const Prefix&, const Prefix&) = default;
};

// "02:42:0a:58:00:05". 48 bits, unicast, lower or upper case.
bool IsMacAddress(std::string_view text);

}  // namespace davit::network
