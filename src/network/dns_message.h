// DNS messages, as far as a resolver for containers needs them: one question in, addresses or names out. Pure
// functions; what comes in is anybody's bytes.
//
// Source: RFC 1035 (messages), RFC 3596 (AAAA), RFC 6891 (the size in an OPT record), RFC 2308 (no data is no error).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "network/prefix.h"

namespace davit::network {

inline constexpr size_t kMaxDnsQuery = 4096;
inline constexpr size_t kMaxDnsMessage = 65535;
inline constexpr uint32_t kDnsTtl = 5;  // seconds: containers come and go

enum class DnsType : uint16_t { kA = 1, kPtr = 12, kAaaa = 28, kAny = 255 };
enum class DnsCode : uint8_t {
  kOk = 0,
  kFormat = 1,
  kServerFailure = 2,
  kNoName = 3,
  kNotImplemented = 4,
  kRefused = 5
};

struct DnsQuestion {
  uint16_t id = 0;
  bool recursion_desired = false;
  std::string name;  // lower case, without the last dot; bytes that are no host name's are kept
  uint16_t type = 0;
  uint16_t klass = 0;     // 1: the Internet
  size_t end = 0;         // where the question ends in the message
  size_t max_size = 512;  // of an answer by UDP
};

struct DnsQuery {
  // kFormat and kNotImplemented are answered, for `question.id` is known then; kOk has the whole question.
  DnsCode code = DnsCode::kOk;
  DnsQuestion question;
};

// nullopt: no answer is due (shorter than a header, or itself an answer).
std::optional<DnsQuery> ParseDnsQuery(std::string_view message);

// The address that "4.3.2.1.in-addr.arpa" or an ip6.arpa name stands for.
std::optional<Address> AddressOfReverseName(std::string_view name);

// Answers to `query`, whose question `message` holds. At most `max_size` bytes: with the TC bit where that is too few.
std::string DnsAddressAnswer(std::string_view message, const DnsQuestion& question,
                             const std::vector<Address>& addresses, size_t max_size);
std::string DnsNameAnswer(std::string_view message, const DnsQuestion& question, const std::vector<std::string>& names,
                          size_t max_size);
// Without records; of a message whose question cannot be read the header alone.
std::string DnsErrorAnswer(std::string_view message, const DnsQuery& query, DnsCode code);

// Whether `answer` is one to `query`: its id, and the same question.
bool IsDnsAnswerTo(std::string_view answer, std::string_view query);
inline bool IsDnsTruncated(std::string_view answer) {
  return answer.size() > 2 && (static_cast<uint8_t>(answer[2]) & 0x02) != 0;
}
// An answer that is longer than the asker takes, cut to its question, with the TC bit.
std::string TruncateDnsAnswer(std::string_view answer, const DnsQuestion& question);

}  // namespace davit::network
