#include "native/features.h"

#include <gtest/gtest.h>

#include "oci/runtime_spec_reader.h"
#include "runtime/runtime_driver.h"

namespace davit::native {
namespace {

TEST(FeaturesTest, AreWhatDavitdLooksFor) {
  auto features = runtime::ParseFeatures(FeaturesJson());
  ASSERT_TRUE(features.ok()) << features.status().ToString();
  EXPECT_TRUE(features->known && features->recursive_read_only_mounts && features->idmap_mounts);
  EXPECT_TRUE(features->user_namespaces && features->seccomp && features->seccomp_bpf);
  EXPECT_TRUE(features->apparmor && features->selinux);
}

TEST(FeaturesTest, TheExampleIsASpecification) {
  for (bool rootless : {false, true}) {
    auto spec = oci::ParseRuntimeSpec(ExampleSpec(rootless));
    EXPECT_TRUE(spec.ok()) << spec.status().ToString();
  }
}

}  // namespace
}  // namespace davit::native
