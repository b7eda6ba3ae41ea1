#include "native/process_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/capabilities.h"

namespace davit::native {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

oci::CapabilitySets All(const std::vector<std::string>& names) { return {names, names, names, names, names}; }

TEST(ProcessPlanTest, CapabilitiesAreBitsOfWhatTheNodeHas) {
  oci::Process process;
  EXPECT_EQ(PlanProcess(process, {})->capabilities.bounding, 0u) << "none named: none";
  Result<std::vector<std::string>> held = sys::BoundingCapabilities();
  ASSERT_TRUE(held.ok());
  uint64_t node = 0;
  std::vector<std::string> known = sys::KnownCapabilities();
  for (size_t i = 0; i < known.size(); ++i) {
    if (std::find(held->begin(), held->end(), known[i]) != held->end()) node |= uint64_t{1} << i;
  }
  process.capabilities = All(known);
  EXPECT_EQ(PlanProcess(process, {})->capabilities.effective, node) << "all of them: all that there are";
  process.capabilities = All({"CAP_CHOWN", "CAP_KILL", "CAP_OF_THE_FUTURE"});
  EXPECT_EQ(PlanProcess(process, {})->capabilities.ambient & ~uint64_t{0x21}, 0u);
}

TEST(ProcessPlanTest, RefusesCapabilitiesThatNoProcessCouldHave) {
  oci::Process process;
  process.capabilities = oci::CapabilitySets{{}, {"CAP_CHOWN"}, {}, {}, {}};
  EXPECT_THAT(PlanProcess(process, {}).status().message(), HasSubstr("more than permitted"));
  process.capabilities = All({"chown"});
  EXPECT_THAT(PlanProcess(process, {}).status().message(), HasSubstr("\"chown\" is not known"));
}

TEST(ProcessPlanTest, LimitsAndPrioritiesByName) {
  oci::Process process;
  process.rlimits = {{"RLIMIT_NOFILE", 5, 10}};
  process.io_priority = oci::IoPriority{"IOPRIO_CLASS_BE", 6};
  process.scheduler = oci::Scheduler{"SCHED_RR", 0, 7, 0, 0, 0, {"SCHED_FLAG_RESET_ON_FORK"}};
  Result<ProcessPlan> plan = PlanProcess(process, {});
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_EQ(plan->rlimits[0].first, RLIMIT_NOFILE);
  EXPECT_EQ(plan->io_priority, 2 << 13 | 6);
  EXPECT_EQ(plan->scheduler->policy, 2u);
  EXPECT_EQ(plan->scheduler->flags, 1u);
  process.rlimits = {{"RLIMIT_NOFILE", 11, 10}};
  EXPECT_THAT(PlanProcess(process, {}).status().message(), HasSubstr("process.rlimits[0]: soft is above hard"));
}

TEST(ProcessPlanTest, MemoryPolicyIsModeFlagsAndNodes) {
  oci::Linux linux_part;
  linux_part.memory_policy = oci::MemoryPolicy{"MPOL_BIND", "0,2-3", {"MPOL_F_STATIC_NODES"}};
  Result<ProcessPlan> plan = PlanProcess({}, linux_part);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->memory_policy->mode, 2 | 1 << 15);
  EXPECT_EQ(plan->memory_policy->nodes[0], 13u);
}

TEST(ProcessPlanTest, NumberLists) {
  EXPECT_THAT(*ParseNumberList("0-2,5", 8), ElementsAre(0, 1, 2, 5));
  for (const char* bad : {"", "1-", "3-1", "8", "a", "1,,2", "0-99999999999"}) {
    EXPECT_FALSE(ParseNumberList(bad, 8).ok()) << bad;
  }
}

}  // namespace
}  // namespace davit::native
