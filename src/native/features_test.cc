#include "native/features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oci/json.h"
#include "oci/runtime_spec_reader.h"

namespace davit::native {
namespace {

TEST(FeaturesTest, AreWhatDavitdLooksFor) {
  auto document = oci::ParseJson(FeaturesJson());
  ASSERT_TRUE(document.ok()) << document.status().ToString();
  oci::JsonNode root(*document, "");
  EXPECT_THAT(*root.Key("mountOptions").Strings(), ::testing::Contains("rro"));
  EXPECT_THAT(*root.Key("potentiallyUnsafeConfigAnnotations").Strings(),
              ::testing::Contains("run.oci.seccomp_bpf_data"));
  oci::JsonNode os = root.Key("linux");
  EXPECT_THAT(*os.Key("namespaces").Strings(), ::testing::Contains("user"));
  EXPECT_TRUE(*os.Key("mountExtensions").Key("idmap").Key("enabled").Bool());
  for (const char* part : {"seccomp", "apparmor", "selinux", "netDevices"}) {
    EXPECT_TRUE(*os.Key(part).Key("enabled").Bool()) << part;
  }
}

TEST(FeaturesTest, TheExampleIsASpecification) {
  for (bool rootless : {false, true}) {
    auto spec = oci::ParseRuntimeSpec(ExampleSpec(rootless));
    EXPECT_TRUE(spec.ok()) << spec.status().ToString();
  }
}

}  // namespace
}  // namespace davit::native
