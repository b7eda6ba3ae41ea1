#include "container/capabilities.h"

#include <gtest/gtest.h>

namespace davit::container {
namespace {

const std::vector<std::string> kNode = {"CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"};
const std::vector<std::string> kDefaults = {"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETPCAP"};

oci::CapabilitySets Resolve(const SecurityContext& security) {
  Result<oci::CapabilitySets> sets = ResolveCapabilities(security, kDefaults, kNode);
  EXPECT_TRUE(sets.ok()) << sets.status().ToString();
  return sets.ok() ? *sets : oci::CapabilitySets();
}

TEST(CapabilitiesTest, DefaultsAreClampedToTheNode) {
  oci::CapabilitySets sets = Resolve({});
  EXPECT_EQ(sets.bounding, (std::vector<std::string>{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"}));
  EXPECT_EQ(sets.effective, sets.bounding);
  EXPECT_EQ(sets.permitted, sets.bounding);
  EXPECT_TRUE(sets.inheritable.empty());
  EXPECT_TRUE(sets.ambient.empty());
}

TEST(CapabilitiesTest, AllMeansWhatTheNodeHolds) {
  SecurityContext security;
  security.capabilities.add = {"ALL"};
  EXPECT_EQ(Resolve(security).bounding, kNode);
  SecurityContext privileged;
  privileged.privileged = true;
  EXPECT_EQ(Resolve(privileged).bounding, kNode);
}

TEST(CapabilitiesTest, AddAndDropTakeNamesInAnySpelling) {
  SecurityContext security;
  security.capabilities.add = {"net_admin"};
  security.capabilities.drop = {"CAP_NET_RAW", "Kill"};
  EXPECT_EQ(Resolve(security).bounding, (std::vector<std::string>{"CAP_CHOWN", "CAP_NET_ADMIN"}));
}

TEST(CapabilitiesTest, DropAllLeavesWhatIsAddedByName) {
  SecurityContext security;
  security.capabilities.drop = {"ALL"};
  EXPECT_TRUE(Resolve(security).bounding.empty());
  security.capabilities.add = {"CHOWN"};
  EXPECT_EQ(Resolve(security).bounding, std::vector<std::string>{"CAP_CHOWN"});
}

TEST(CapabilitiesTest, UnknownAndUnavailableNamesAreErrors) {
  SecurityContext unknown;
  unknown.capabilities.add = {"FLY"};
  Result<oci::CapabilitySets> sets = ResolveCapabilities(unknown, kDefaults, kNode);
  EXPECT_EQ(sets.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(sets.status().message().find("FLY"), std::string::npos);
  SecurityContext unavailable;
  unavailable.capabilities.add = {"SYS_RESOURCE"};
  EXPECT_EQ(ResolveCapabilities(unavailable, kDefaults, kNode).code(), StatusCode::kFailedPrecondition);
}

TEST(CapabilitiesTest, AmbientNeedsToBeHeld) {
  SecurityContext security;
  security.capabilities.add_ambient = {"CHOWN"};
  EXPECT_EQ(Resolve(security).ambient, std::vector<std::string>{"CAP_CHOWN"});
  EXPECT_EQ(Resolve(security).inheritable, std::vector<std::string>{"CAP_CHOWN"});
  security.capabilities.add_ambient = {"SYS_ADMIN"};
  EXPECT_EQ(ResolveCapabilities(security, kDefaults, kNode).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::container
