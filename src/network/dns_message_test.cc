#include "network/dns_message.h"

#include <gtest/gtest.h>

namespace davit::network {
namespace {

std::string Labels(const std::vector<std::string>& labels) {
  std::string out;
  for (const std::string& label : labels) {
    out += static_cast<char>(label.size());
    out += label;
  }
  return out + '\0';
}

std::string Query(const std::vector<std::string>& labels, uint16_t type, const std::string& extra = "") {
  std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00", 11);
  out += extra.empty() ? '\0' : '\x01';
  out += Labels(labels);
  out += static_cast<char>(type >> 8);
  out += static_cast<char>(type & 0xff);
  return out + std::string("\x00\x01", 2) + extra;
}

uint16_t At(const std::string& message, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(message[at]) << 8 | static_cast<uint8_t>(message[at + 1]));
}

TEST(DnsMessageTest, ReadsAQuestion) {
  auto query = ParseDnsQuery(Query({"Web-1", "Front"}, 28));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->code, DnsCode::kOk);
  EXPECT_EQ(query->question.id, 0x1234);
  EXPECT_EQ(query->question.name, "web-1.front");
  EXPECT_EQ(query->question.type, 28);
  EXPECT_TRUE(query->question.recursion_desired);
  EXPECT_EQ(query->question.max_size, 512u);
  const std::string opt("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00", 11);
  EXPECT_EQ(ParseDnsQuery(Query({"a"}, 1, opt))->question.max_size, 1232u);
}

TEST(DnsMessageTest, WhatIsNoQuestionGetsNoAnswerOrAnError) {
  const std::string good = Query({"web"}, 1);
  for (size_t size = 0; size < 12; ++size) EXPECT_FALSE(ParseDnsQuery(good.substr(0, size))) << size;
  for (size_t size = 12; size < good.size(); ++size) {
    EXPECT_EQ(ParseDnsQuery(good.substr(0, size))->code, DnsCode::kFormat) << size;
  }
  std::string answer = good;
  answer[2] = '\x81';
  EXPECT_FALSE(ParseDnsQuery(answer)) << "an answer is never answered";
  std::string update = good;
  update[2] = '\x28';
  EXPECT_EQ(ParseDnsQuery(update)->code, DnsCode::kNotImplemented);
  std::string two = good;
  two[5] = 2;
  EXPECT_EQ(ParseDnsQuery(two)->code, DnsCode::kFormat);
  std::string pointer = good;
  pointer[12] = '\xc0';
  EXPECT_EQ(ParseDnsQuery(pointer)->code, DnsCode::kFormat);
  EXPECT_EQ(ParseDnsQuery(Query(std::vector<std::string>(130, "a"), 1))->code, DnsCode::kFormat) << "260 bytes";
  EXPECT_EQ(ParseDnsQuery(good + std::string(kMaxDnsQuery, 'x'))->code, DnsCode::kFormat);
  const std::string error = DnsErrorAnswer(two, *ParseDnsQuery(two), DnsCode::kFormat);
  EXPECT_EQ(error.size(), 12u);
  EXPECT_EQ(At(error, 0), 0x1234);
  EXPECT_EQ(error[3] & 0x0f, 1);
}

TEST(DnsMessageTest, AnswersWithTheAddressesOfTheFamily) {
  const std::vector<Address> addresses = {*Address::Parse("10.89.0.2"), *Address::Parse("fd00::2"),
                                          *Address::Parse("10.89.0.3")};
  const std::string message = Query({"db"}, 1);
  const std::string answer = DnsAddressAnswer(message, ParseDnsQuery(message)->question, addresses, 512);
  EXPECT_EQ(At(answer, 6), 2);
  EXPECT_EQ(answer.substr(answer.size() - 4), std::string("\x0a\x59\x00\x03", 4));
  EXPECT_TRUE(IsDnsAnswerTo(answer, message));
  EXPECT_FALSE(IsDnsAnswerTo(answer, Query({"dc"}, 1)));
  EXPECT_FALSE(IsDnsAnswerTo(answer, Query({"db"}, 28)));
  const std::string six = Query({"db"}, 28);
  EXPECT_EQ(At(DnsAddressAnswer(six, ParseDnsQuery(six)->question, addresses, 512), 6), 1);
  const std::string none = DnsAddressAnswer(six, ParseDnsQuery(six)->question, {addresses[0]}, 512);
  EXPECT_EQ(At(none, 6), 0);
  EXPECT_EQ(none[3] & 0x0f, 0) << "no data, and not: no such name";
}

TEST(DnsMessageTest, CutsWhatIsTooLong) {
  const std::vector<Address> addresses(100, *Address::Parse("10.89.0.2"));
  const std::string message = Query({"db"}, 1);
  const DnsQuestion question = ParseDnsQuery(message)->question;
  const std::string answer = DnsAddressAnswer(message, question, addresses, 512);
  EXPECT_LE(answer.size(), 512u);
  EXPECT_TRUE(IsDnsTruncated(answer));
  EXPECT_FALSE(IsDnsTruncated(DnsAddressAnswer(message, question, addresses, kMaxDnsMessage)));
  const std::string cut = TruncateDnsAnswer(DnsAddressAnswer(message, question, addresses, kMaxDnsMessage), question);
  EXPECT_EQ(cut.size(), question.end);
  EXPECT_TRUE(IsDnsTruncated(cut));
  EXPECT_TRUE(IsDnsAnswerTo(cut, message));
}

TEST(DnsMessageTest, ReverseNames) {
  EXPECT_EQ(AddressOfReverseName("7.0.89.10.in-addr.arpa")->ToString(), "10.89.0.7");
  EXPECT_EQ(
      AddressOfReverseName("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa")->ToString(),
      "fd00::2");
  for (const char* name : {"", "in-addr.arpa", "0.89.10.in-addr.arpa", "256.0.0.1.in-addr.arpa", "a.0.0.1.in-addr.arpa",
                           "1.2.ip6.arpa", "x.example"}) {
    EXPECT_FALSE(AddressOfReverseName(name)) << name;
  }
  const std::string message = Query({"7", "0", "89", "10", "in-addr", "arpa"}, 12);
  const std::string answer = DnsNameAnswer(message, ParseDnsQuery(message)->question, {"web.front"}, 512);
  EXPECT_EQ(At(answer, 6), 1);
  EXPECT_EQ(answer.substr(answer.size() - 11), Labels({"web", "front"}));
}

}  // namespace
}  // namespace davit::network
