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
  record.ips = {"10.88.0.2", "fd00::2"};
  record.init_start_time = ~uint64_t{0};
  Result<PodRecord> parsed = ParsePodRecord(ToText(record));
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  EXPECT_EQ(ToText(*parsed), ToText(record));
  EXPECT_EQ(parsed->spec.port_mappings[0].protocol, Protocol::kUdp);
  EXPECT_EQ(parsed->init_start_time, ~uint64_t{0});
}

TEST(PodRecordTest, RefusesWhatItCannotRead) {
  for (const char* bad : {"", "{}", "{\"id\":\"x\"}", "{\"version\":9}"}) EXPECT_FALSE(ParsePodRecord(bad).ok()) << bad;
}

}  // namespace
}  // namespace davit::pod
