#include "network/dns_message.h"

#include <algorithm>
#include <cctype>

#include "base/strings.h"

namespace davit::network {
namespace {

constexpr size_t kHeader = 12;
constexpr size_t kMaxName = 255;
constexpr size_t kMaxLabel = 63;
constexpr uint16_t kInternet = 1;
constexpr uint16_t kOpt = 41;
constexpr size_t kMaxRecords = 1024;  // of one answer

uint16_t Read16(std::string_view text, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(text[at]) << 8 | static_cast<uint8_t>(text[at + 1]));
}

void Write16(std::string& out, size_t number) {
  out += static_cast<char>(number >> 8 & 0xff);
  out += static_cast<char>(number & 0xff);
}

void Write32(std::string& out, uint32_t number) {
  Write16(out, number >> 16);
  Write16(out, number & 0xffff);
}

// The name that begins at `at`, which then stands behind it. Pointers have no place in a question.
std::optional<std::string> ReadName(std::string_view message, size_t& at) {
  std::string name;
  for (size_t size = 0;;) {
    if (at >= message.size()) return std::nullopt;
    const auto length = static_cast<uint8_t>(message[at++]);
    size += length + 1u;
    if (length > kMaxLabel || size > kMaxName || at + length > message.size()) return std::nullopt;
    if (length == 0) return name;
    if (!name.empty()) name += '.';
    for (size_t i = 0; i < length; ++i) {
      const char c = message[at + i];
      // A dot inside of a label would make two of it.
      name += c == '.' ? '\x01' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    at += length;
  }
}

bool WriteName(std::string& out, std::string_view name) {
  size_t size = 1;
  for (const std::string& label : Split(name, '.')) {
    size += label.size() + 1;
    if (label.empty() || label.size() > kMaxLabel || size > kMaxName) return false;
    out += static_cast<char>(label.size());
    out += label;
  }
  out += '\0';
  return true;
}

// The size in the OPT record, when that is the first thing behind the question, as it is in a query.
size_t SizeOfOpt(std::string_view message, size_t at) {
  constexpr size_t kFixed = 11;  // root name, type, class, TTL, length
  if (Read16(message, 10) == 0 || at + kFixed > message.size()) return 512;
  if (message[at] != 0 || Read16(message, at + 1) != kOpt) return 512;
  return std::clamp<size_t>(Read16(message, at + 3), 512, 4096);
}

// Header and question of an answer.
std::string Begin(std::string_view message, const DnsQuestion& question, DnsCode code, size_t records, bool truncated) {
  std::string out;
  Write16(out, question.id);
  out += static_cast<char>(0x80 | (truncated ? 0x02 : 0) | (question.recursion_desired ? 0x01 : 0));
  out += static_cast<char>(0x80 | static_cast<uint8_t>(code));  // recursion is available
  Write16(out, question.end > kHeader ? 1 : 0);
  Write16(out, records);
  Write32(out, 0);
  if (question.end > kHeader) out += message.substr(kHeader, question.end - kHeader);
  return out;
}

std::string AnswerWith(std::string_view message, const DnsQuestion& question, DnsType type,
                       const std::vector<std::string>& data, size_t max_size) {
  std::string records;
  size_t count = 0;
  bool truncated = data.size() > kMaxRecords;
  for (const std::string& bytes : data) {
    std::string record;
    Write16(record, 0xc000 | kHeader);  // the name of the question
    Write16(record, static_cast<size_t>(type));
    Write16(record, kInternet);
    Write32(record, kDnsTtl);
    Write16(record, bytes.size());
    record += bytes;
    if (count >= kMaxRecords || question.end + records.size() + record.size() > max_size) {
      truncated = true;
      break;
    }
    records += record;
    ++count;
  }
  return Begin(message, question, DnsCode::kOk, count, truncated) + records;
}

std::optional<uint8_t> Nibble(const std::string& label) {
  if (label.size() != 1 || std::isxdigit(static_cast<unsigned char>(label[0])) == 0) return std::nullopt;
  const char c = label[0];
  return static_cast<uint8_t>(c <= '9' ? c - '0' : std::tolower(static_cast<unsigned char>(c)) - 'a' + 10);
}

}  // namespace

std::optional<DnsQuery> ParseDnsQuery(std::string_view message) {
  if (message.size() < kHeader || (static_cast<uint8_t>(message[2]) & 0x80) != 0) return std::nullopt;
  DnsQuery query;
  query.question.id = Read16(message, 0);
  query.question.recursion_desired = (static_cast<uint8_t>(message[2]) & 0x01) != 0;
  if ((static_cast<uint8_t>(message[2]) >> 3 & 0x0f) != 0) {
    query.code = DnsCode::kNotImplemented;
    return query;
  }
  query.code = DnsCode::kFormat;
  if (message.size() > kMaxDnsQuery || Read16(message, 4) != 1 || Read16(message, 6) != 0) return query;
  size_t at = kHeader;
  std::optional<std::string> name = ReadName(message, at);
  if (!name || at + 4 > message.size()) return query;
  query.question.name = std::move(*name);
  query.question.type = Read16(message, at);
  query.question.klass = Read16(message, at + 2);
  query.question.end = at + 4;
  query.question.max_size = SizeOfOpt(message, query.question.end);
  query.code = DnsCode::kOk;
  return query;
}

std::optional<Address> AddressOfReverseName(std::string_view name) {
  constexpr std::string_view k4 = ".in-addr.arpa";
  constexpr std::string_view k6 = ".ip6.arpa";
  Address address;
  if (name.ends_with(k4)) {
    const std::vector<std::string> parts = Split(name.substr(0, name.size() - k4.size()), '.');
    if (parts.size() != 4) return std::nullopt;
    for (size_t i = 0; i < 4; ++i) {
      std::optional<uint64_t> byte = ParseUint64(parts[3 - i]);
      if (!byte || *byte > 255) return std::nullopt;
      address.bytes[i] = static_cast<uint8_t>(*byte);
    }
    return address;
  }
  if (!name.ends_with(k6)) return std::nullopt;
  const std::vector<std::string> parts = Split(name.substr(0, name.size() - k6.size()), '.');
  if (parts.size() != 32) return std::nullopt;
  address.v6 = true;
  for (size_t i = 0; i < 32; ++i) {
    std::optional<uint8_t> nibble = Nibble(parts[31 - i]);
    if (!nibble) return std::nullopt;
    address.bytes[i / 2] = static_cast<uint8_t>(address.bytes[i / 2] << 4 | *nibble);
  }
  return address;
}

std::string DnsAddressAnswer(std::string_view message, const DnsQuestion& question,
                             const std::vector<Address>& addresses, size_t max_size) {
  const bool six = question.type == static_cast<uint16_t>(DnsType::kAaaa);
  std::vector<std::string> data;
  for (const Address& address : addresses) {
    if (address.v6 == six) data.emplace_back(reinterpret_cast<const char*>(address.bytes.data()), address.size());
  }
  return AnswerWith(message, question, six ? DnsType::kAaaa : DnsType::kA, data, max_size);
}

std::string DnsNameAnswer(std::string_view message, const DnsQuestion& question, const std::vector<std::string>& names,
                          size_t max_size) {
  std::vector<std::string> data;
  for (const std::string& name : names) {
    std::string bytes;
    if (WriteName(bytes, name)) data.push_back(std::move(bytes));
  }
  return AnswerWith(message, question, DnsType::kPtr, data, max_size);
}

std::string DnsErrorAnswer(std::string_view message, const DnsQuery& query, DnsCode code) {
  return Begin(message, query.question, code, 0, false);
}

bool IsDnsAnswerTo(std::string_view answer, std::string_view query) {
  std::optional<DnsQuery> asked = ParseDnsQuery(query);
  if (!asked || asked->code != DnsCode::kOk || answer.size() < kHeader) return false;
  if (Read16(answer, 0) != asked->question.id || (static_cast<uint8_t>(answer[2]) & 0x80) == 0) return false;
  if (Read16(answer, 4) == 0) return answer.size() == kHeader || Read16(answer, 6) == 0;  // an error says no more
  size_t at = kHeader;
  std::optional<std::string> name = ReadName(answer, at);
  return name && *name == asked->question.name && at + 4 <= answer.size() &&
         Read16(answer, at) == asked->question.type && Read16(answer, at + 2) == asked->question.klass;
}

std::string TruncateDnsAnswer(std::string_view answer, const DnsQuestion& question) {
  if (answer.size() < question.end || question.end < kHeader) return {};
  std::string out(answer.substr(0, question.end));
  out[2] = static_cast<char>(static_cast<uint8_t>(out[2]) | 0x02);
  for (size_t i = 4; i < kHeader; ++i) out[i] = 0;
  out[5] = 1;
  return out;
}

}  // namespace davit::network
