#include "sys/capabilities.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sys/unique_fd.h"

namespace davit::sys {
namespace {

TEST(CapabilitiesTest, NamesAreInNumberOrder) {
  std::vector<std::string> known = KnownCapabilities();
  ASSERT_GE(known.size(), 38U);
  EXPECT_EQ(known[0], "CAP_CHOWN");
  EXPECT_EQ(known[21], "CAP_SYS_ADMIN");
  EXPECT_EQ(known[37], "CAP_AUDIT_READ");
}

TEST(CapabilitiesTest, BoundingSetIsWhatProcTells) {
  std::string status = *ReadFile("/proc/self/status", 65536);
  size_t at = status.find("CapBnd:\t");
  ASSERT_NE(at, std::string::npos);
  unsigned long long mask = std::stoull(status.substr(at + 8, 16), nullptr, 16);
  auto held = BoundingCapabilities();
  ASSERT_TRUE(held.ok());
  std::vector<std::string> known = KnownCapabilities();
  for (size_t i = 0; i < known.size(); ++i) {
    bool listed = std::find(held->begin(), held->end(), known[i]) != held->end();
    EXPECT_EQ(listed, ((mask >> i) & 1) == 1) << known[i];
  }
}

}  // namespace
}  // namespace davit::sys
