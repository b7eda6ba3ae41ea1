#include "pod/record.h"

#include <gtest/gtest.h>

namespace davit::pod {
namespace {

TEST(PodRecordTest, RoundTripsThroughText) {
  PodRecord record;
  record.id = PodId::Mint();
  record.phase = Phase::kReady;
  record.spec.name = "web";
  record.spec.port_mappings.push_back({Protocol::kUdp, 53, 5353, "127.0.0.1"});
  record.spec.sysctls["net.core.somaxconn"] = "1024";
  record.spec.resources.hugepage_limits = {{"2MB", 7}};
  record.ips = {"10.88.0.2", "fd00::2"};
  record.init_start_time = ~uint64_t{0};
  Result<PodRecord> parsed = ParsePodRecord(ToText(record));
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  EXPECT_EQ(ToText(*parsed), ToText(record));
  EXPECT_EQ(parsed->spec.port_mappings[0].protocol, Protocol::kUdp);
  EXPECT_EQ(parsed->init_start_time, ~uint64_t{0});
  EXPECT_EQ(parsed->spec.resources.hugepage_limits[0].limit, 7u);
}

TEST(PodRecordTest, ReadsTheVersionBefore) {
  const std::string id(64, 'a');
  Result<PodRecord> parsed = ParsePodRecord(
      R"({"version":1,"id":")" + id +
      R"(","spec":{"resources":{"cpu_shares":9,"hugepage_limits":{"1GB":1,"2MB":2}},"overhead":{"hugepage_limits":{}}},)" +
      R"("pending_resources":{"hugepage_limits":{"2MB":3}},"pending_overhead":null})");
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  const sys::Resources& resources = parsed->spec.resources;
  EXPECT_EQ(resources.cpu_shares, 9);
  ASSERT_EQ(resources.hugepage_limits.size(), 2u);
  EXPECT_EQ(resources.hugepage_limits[1].page_size, "2MB");
  EXPECT_EQ(resources.hugepage_limits[1].limit, 2u);
  EXPECT_TRUE(parsed->spec.overhead.hugepage_limits.empty());
  EXPECT_EQ(parsed->pending_resources->hugepage_limits[0].limit, 3u);
  EXPECT_FALSE(parsed->pending_overhead);
  EXPECT_NE(ToText(*parsed).find("\"version\":2"), std::string::npos);
}

TEST(PodRecordTest, RefusesWhatItCannotRead) {
  for (const char* bad : {"", "{}", "{\"id\":\"x\"}", "{\"version\":4}"}) EXPECT_FALSE(ParsePodRecord(bad).ok()) << bad;
}

TEST(PodRecordTest, ANewerVersionIsToldBeforeItsMembers) {
  Status status = ParsePodRecord(R"({"spec":5,"version":4})").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("pod record of version 4"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace davit::pod
