#include "native/mount_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/mounts.h"

namespace davit::native {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

MountOptions Parsed(std::vector<std::string> options, const std::string& type = "bind") {
  return ParseMountOptions({"/x", type, "/y", std::move(options), {}, {}}).value_or(MountOptions{});
}

TEST(MountOptionsTest, TellsAttributesFromWhatBelongsToTheFilesystem) {
  MountOptions options = Parsed({"nosuid", "noexec", "ro", "size=64k", "mode=755", "newinstance", "rprivate"}, "tmpfs");
  EXPECT_EQ(options.attributes.set, uint64_t{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY});
  EXPECT_THAT(options.data, ElementsAre(Pair("size", "64k"), Pair("mode", "755")));
  EXPECT_THAT(options.flags, ElementsAre("newinstance"));
  EXPECT_EQ(options.propagation, static_cast<unsigned long>(MS_PRIVATE));
  EXPECT_TRUE(options.propagation_recursive);
  EXPECT_FALSE(options.bind);
}

TEST(MountOptionsTest, TheLastOfTwoThatContradictCounts) {
  EXPECT_EQ(Parsed({"ro", "rw"}).attributes.set, 0u);
  EXPECT_EQ(Parsed({"ro", "rw"}).attributes.clear, uint64_t{MOUNT_ATTR_RDONLY});
  EXPECT_EQ(Parsed({"rw", "ro"}).attributes.set, uint64_t{MOUNT_ATTR_RDONLY});
  EXPECT_EQ(Parsed({"rw", "ro"}).attributes.clear, 0u);
}

TEST(MountOptionsTest, AnAccessTimeAttributeClearsItsWholeField) {
  EXPECT_EQ(Parsed({"noatime"}).attributes.set, uint64_t{MOUNT_ATTR_NOATIME});
  EXPECT_EQ(Parsed({"noatime"}).attributes.clear, uint64_t{0x70});
  EXPECT_EQ(Parsed({"noatime", "strictatime"}).attributes.set, uint64_t{MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(Parsed({"relatime"}).attributes.clear, uint64_t{0x70});
}

TEST(MountOptionsTest, RecursiveAttributesAreApart) {
  MountOptions options = Parsed({"rro", "rnosuid", "rrelatime", "relatime"});
  EXPECT_EQ(options.below.set, uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID});
  EXPECT_EQ(options.below.clear, uint64_t{0x70});
  EXPECT_EQ(options.attributes.set, 0u);
}

TEST(MountOptionsTest, KnowsBindsByTypeAndByOption) {
  EXPECT_TRUE(Parsed({}).bind);
  EXPECT_TRUE(Parsed({"rbind"}, "none").bind);
  EXPECT_TRUE(Parsed({"rbind"}, "none").recursive);
  EXPECT_FALSE(Parsed({"bind"}).recursive);
  EXPECT_TRUE(Parsed({"ridmap"}).idmap_recursive);
}

TEST(MountOptionsTest, RefusesWhatCannotBe) {
  EXPECT_THAT(ParseMountOptions({"/x", "proc", "", {"tmpcopyup"}, {}, {}}).status().message(), HasSubstr("tmpcopyup"));
  EXPECT_THAT(ParseMountOptions({"/x", "tmpfs", "", {"idmap"}, {}, {}}).status().message(), HasSubstr("only a bind"));
  EXPECT_THAT(ParseMountOptions({"/x", "bind", "/y", {}, {{0, 1, 1}}, {}}).status().message(),
              HasSubstr("gidMappings"));
}

}  // namespace
}  // namespace davit::native
