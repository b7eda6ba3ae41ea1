#include "container/record.h"

#include <gtest/gtest.h>

namespace davit::container {
namespace {

ContainerRecord Example() {
  ContainerRecord record;
  record.id = ContainerId::Mint();
  record.pod = PodId::Mint();
  record.phase = Phase::kRunning;
  record.spec.name = "web";
  record.spec.envs.push_back({"BYTES", std::string("\xff\x01", 2)});
  record.spec.mounts.push_back(
      {.container_path = "/a", .host_path = "/b", .propagation = MountPropagation::kBidirectional});
  record.spec.security.run_as_user = 7;
  record.spec.security.namespaces.user = UserNamespace{NamespaceMode::kPod, {{100'000, 0, 65'536}}, {}};
  record.image_volumes["3"] = {"sha256:x", {"sha256:y"}};
  record.spec.labels["k"] = "v";
  record.groups = {1, 2};
  record.exit_code = -1;
  return record;
}

TEST(ContainerRecordTest, RoundTripsThroughText) {
  ContainerRecord record = Example();
  Result<ContainerRecord> parsed = ParseContainerRecord(ToText(record));
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  EXPECT_EQ(ToText(*parsed), ToText(record));
  EXPECT_EQ(parsed->id, record.id);
  EXPECT_EQ(parsed->spec.envs[0].value, record.spec.envs[0].value);
  EXPECT_EQ(parsed->spec.security.run_as_user, 7);
  EXPECT_EQ(parsed->spec.security.namespaces.user->uids[0].length, 65'536u);
  EXPECT_EQ(parsed->image_volumes["3"].layers[0], "sha256:y");
  EXPECT_EQ(parsed->spec.security.run_as_group, std::nullopt);
}

TEST(ContainerRecordTest, TakesTheFieldsOfItsNeighbourVersions) {
  std::string text = ToText(Example());
  text.insert(1, "\"from_the_future\":{\"x\":[1]},");
  EXPECT_TRUE(ParseContainerRecord(text).ok());
  Result<ContainerRecord> minimal = ParseContainerRecord("{\"id\":\"" + std::string(64, 'a') + "\"}");
  ASSERT_TRUE(minimal.ok());
  EXPECT_EQ(minimal->phase, Phase::kCreating);
}

TEST(ContainerRecordTest, RefusesWhatItCannotRead) {
  for (const char* bad : {"", "[]", "{}", "{\"id\":\"../x\"}", "{\"id\":5}", "{\"version\":3}"}) {
    EXPECT_FALSE(ParseContainerRecord(bad).ok()) << bad;
  }
}

TEST(ContainerRecordTest, ANewerVersionIsToldBeforeItsMembers) {
  Status status = ParseContainerRecord(R"({"spec":5,"version":3})").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("container record of version 3"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace davit::container
