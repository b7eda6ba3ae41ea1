#include "engine/pod_interfaces.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "sys/namespaces.h"
#include "sys/temp_dir.h"

namespace davit::engine {
namespace {

// Need root for the namespace.
class RootPodInterfacesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "making a network namespace needs root";
    ASSERT_TRUE(sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, Pin()}}, {}).ok());
  }
  void TearDown() override { EXPECT_TRUE(sys::Unpin(Pin()).ok()); }
  std::string Pin() const { return dir_.At("net"); }

  sys::TempDir dir_;
  PodId pod_ = PodId::Mint();
  PodInterfaces interfaces_{1};
};

TEST_F(RootPodInterfacesTest, StaysOpenWhileThePodIsUpAndNotLonger) {
  bool up = true;
  auto keep = [&] { return up; };
  auto read = interfaces_.Read(pod_, Pin(), keep);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_TRUE(read->empty());  // "lo" is nobody's traffic
  EXPECT_EQ(interfaces_.open(), 1U);
  EXPECT_TRUE(interfaces_.Read(pod_, "/not/read/again", keep).ok());

  up = false;
  interfaces_.Drop(pod_);
  EXPECT_EQ(interfaces_.open(), 0U);
  EXPECT_TRUE(interfaces_.Read(pod_, Pin(), keep).ok());
  EXPECT_EQ(interfaces_.open(), 0U);
}

TEST_F(RootPodInterfacesTest, PastTheCapNothingIsKept) {
  auto keep = [] { return true; };
  ASSERT_TRUE(interfaces_.Read(pod_, Pin(), keep).ok());
  PodId other = PodId::Mint();
  EXPECT_TRUE(interfaces_.Read(other, Pin(), keep).ok());
  EXPECT_EQ(interfaces_.open(), 1U);
  EXPECT_EQ(interfaces_.Read(other, "/none", keep).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::engine
