#include "network/prefix.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>

#include "base/strings.h"

namespace davit::network {
namespace {

// The bits of byte number `index` that lie inside a prefix of `length`.
uint8_t MaskOf(size_t index, int length) {
  const int bits = std::clamp(length - static_cast<int>(index) * 8, 0, 8);
  return static_cast<uint8_t>(0xff00 >> bits);
}

}  // namespace

std::optional<Address> Address::Parse(std::string_view text) {
  if (text.size() > INET6_ADDRSTRLEN || text.find('\0') != std::string_view::npos) return std::nullopt;
  const std::string copy(text);
  Address address;
  if (::inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) return address;
  address.v6 = true;
  if (::inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

std::string Address::ToString() const {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text, sizeof text);
  return text;
}

Address Address::Next() const {
  Address next = *this;
  for (size_t i = size(); i-- > 0;) {
    if (++next.bytes[i] != 0) break;
  }
  return next;
}

Prefix Prefix::Of(Address address, int length) {
  for (size_t i = 0; i < address.size(); ++i) address.bytes[i] &= MaskOf(i, length);
  return {address, length};
}

Result<Prefix> Prefix::Parse(std::string_view text) {
  Status bad = InvalidArgument("\"" + Printable(text) + "\" is not a subnet (as 10.89.0.0/24 is one)");
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return bad;
  std::optional<Address> address = Address::Parse(text.substr(0, slash));
  std::optional<uint64_t> length = ParseUint64(text.substr(slash + 1));
  if (!address || !length || *length > static_cast<uint64_t>(address->bits())) return bad;
  return Of(*address, static_cast<int>(*length));
}

std::string Prefix::ToString() const { return address.ToString() + "/" + std::to_string(length); }

bool Prefix::Contains(const Address& other) const { return other.v6 == address.v6 && Of(other, length) == *this; }

bool Prefix::Overlaps(const Prefix& other) const {
  if (address.v6 != other.address.v6) return false;
  const int shorter = std::min(length, other.length);
  return Of(address, shorter) == Of(other.address, shorter);
}

Address Prefix::Last() const {
  Address last = address;
  for (size_t i = 0; i < last.size(); ++i) last.bytes[i] |= static_cast<uint8_t>(~MaskOf(i, length));
  return last;
}

bool IsMacAddress(std::string_view text) {
  if (text.size() != 17) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool colon = i % 3 == 2;
    if (colon ? text[i] != ':' : std::isxdigit(static_cast<unsigned char>(text[i])) == 0) return false;
  }
  // The lowest bit of the first byte says that it is a group's.
  return std::string_view("02468aceACE").find(text[1]) != std::string_view::npos &&
         text != std::string_view("00:00:00:00:00:00");
}

}  // namespace davit::network
