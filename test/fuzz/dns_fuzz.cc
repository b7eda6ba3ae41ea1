// What containers send to the name server, what the node's resolvers answer, and files of networks: the caps hold, an
// answer has the question and fits, and what was read can be written and read again.
#include <string>

#include "fuzz.h"
#include "network/dns_message.h"
#include "network/network_file.h"
#include "network/prefix.h"

namespace network = davit::network;

namespace {

void FuzzQuery(std::string_view message) {
  auto query = network::ParseDnsQuery(message);
  if (!query) return;
  const std::string error = network::DnsErrorAnswer(message, *query, network::DnsCode::kServerFailure);
  FUZZ_REQUIRE(error.size() >= 12 && error.size() <= message.size() + 12);
  if (query->code != network::DnsCode::kOk) return;
  const network::DnsQuestion& question = query->question;
  FUZZ_REQUIRE(question.name.size() <= 255 && question.end <= message.size());
  FUZZ_REQUIRE(question.max_size >= 512 && question.max_size <= 4096);
  const std::vector<network::Address> addresses(question.id % 200, *network::Address::Parse("10.89.0.2"));
  const std::string answer = network::DnsAddressAnswer(message, question, addresses, question.max_size);
  FUZZ_REQUIRE(answer.size() <= question.max_size);
  FUZZ_REQUIRE(network::IsDnsAnswerTo(answer, message));
  FUZZ_REQUIRE(network::IsDnsAnswerTo(error, message));
  const std::string names = network::DnsNameAnswer(message, question, {"web.front", question.name}, question.max_size);
  FUZZ_REQUIRE(names.size() <= question.max_size && network::IsDnsAnswerTo(names, message));
  const std::string cut = network::TruncateDnsAnswer(answer, question);
  FUZZ_REQUIRE(network::IsDnsTruncated(cut) && network::IsDnsAnswerTo(cut, message));
  (void)network::AddressOfReverseName(question.name);
}

// The first byte says how much of the rest is the question.
void FuzzAnswer(std::string_view text) {
  if (text.size() < 2) return;
  const size_t split = std::min<size_t>(1 + static_cast<uint8_t>(text[0]), text.size());
  const std::string_view query = text.substr(1, split - 1);
  const std::string_view answer = text.substr(split);
  if (!network::IsDnsAnswerTo(answer, query)) return;
  (void)network::IsDnsTruncated(answer);
  (void)network::TruncateDnsAnswer(answer, network::ParseDnsQuery(query)->question);
}

void FuzzNetworkFile(std::string_view text) {
  auto file = network::ParseNetworkFile(text, "front");
  if (!file.ok()) return;
  FUZZ_REQUIRE(network::ValidateLinkName(file->interface, "interface").ok());
  if (text.size() > network::kMaxConfigBytes / 8) return;
  auto again = network::NetworkFileText(*file);
  if (!again.ok()) return;  // more labels than may be made
  auto same = network::ParseNetworkFile(*again, "front");
  FUZZ_REQUIRE(same.ok() && same->id == file->id && same->subnets == file->subnets && same->labels == file->labels);
  FUZZ_REQUIRE(network::ConfigForPod(*file, true, false).ok());
}

void FuzzPrefix(std::string_view text) {
  auto prefix = network::Prefix::Parse(text);
  if (!prefix.ok()) return;
  FUZZ_REQUIRE(*network::Prefix::Parse(prefix->ToString()) == *prefix);
  FUZZ_REQUIRE(prefix->Contains(prefix->address) && prefix->Contains(prefix->Last()) && prefix->Overlaps(*prefix));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  FuzzQuery(text);
  FuzzAnswer(text);
  FuzzNetworkFile(text);
  FuzzPrefix(text);
  return 0;
}
