#include "network/config_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "network/plugin_fixture.h"

namespace davit::network {
namespace {

using ::testing::HasSubstr;

constexpr char kBridge[] = R"({"cniVersion":"0.2.0","name":"mynet","type":"bridge"})";
constexpr char kOther[] = R"({"cniVersion":"1.0.0","name":"other","plugins":[{"type":"ptp"},{"type":"loopback"}]})";
constexpr char kLoopback[] = R"({"cniVersion":"0.2.0","type":"loopback"})";

TEST(ConfigDirectoryTest, TakesTheFirstValidFileInLexicalOrder) {
  TempDir dir;
  dir.Write("99-loopback.conf", kLoopback);
  dir.Write("20-other.conflist", kOther);
  dir.Write("10-mynet.conf", kBridge);
  ConfigSnapshot snapshot = ReadConfigDirectory(dir.path());
  EXPECT_EQ(snapshot.file, "10-mynet.conf");
  ASSERT_TRUE(snapshot.config.has_value());
  EXPECT_EQ(snapshot.config->name, "mynet");
  EXPECT_TRUE(snapshot.rejected.empty());
}

TEST(ConfigDirectoryTest, SkipsAndReportsInvalidFiles) {
  TempDir dir;
  dir.Write("00-broken.conf", "{");
  dir.Write("01-evil.conflist", R"({"name":"n","plugins":[{"type":"../../x"}]})");
  dir.Write("02-lo.conf", kLoopback);
  ASSERT_EQ(::mkfifo(dir.Join("03-fifo.conf").c_str(), 0600), 0);
  dir.Write("20-other.json", kOther);
  ConfigSnapshot snapshot = ReadConfigDirectory(dir.path());
  EXPECT_EQ(snapshot.file, "20-other.json");
  ASSERT_EQ(snapshot.rejected.size(), 4u);
  EXPECT_EQ(snapshot.rejected[0].file, "00-broken.conf");
  EXPECT_THAT(snapshot.rejected[1].why, HasSubstr("is not the name of a plugin"));
  EXPECT_THAT(snapshot.rejected[2].why, HasSubstr("built in"));
  EXPECT_THAT(snapshot.rejected[3].why, HasSubstr("not a regular file"));
}

TEST(ConfigDirectoryTest, LoopbackInsideAListIsLeftOut) {
  TempDir dir;
  dir.Write("a.conflist", kOther);
  ConfigSnapshot snapshot = ReadConfigDirectory(dir.path());
  ASSERT_TRUE(snapshot.config.has_value());
  ASSERT_EQ(snapshot.config->plugins.size(), 1u);
  EXPECT_EQ(snapshot.config->plugins[0].type, "ptp");
}

TEST(ConfigDirectoryTest, OtherFilesAreNotLookedAt) {
  TempDir dir;
  dir.Write("README", kBridge);
  dir.Write("10-x.conf.bak", kBridge);
  dir.Write(".10-x.conf", kBridge);
  dir.Write(".conf", kBridge);
  ConfigSnapshot snapshot = ReadConfigDirectory(dir.path());
  EXPECT_FALSE(snapshot.config.has_value());
  EXPECT_TRUE(snapshot.rejected.empty());
}

TEST(ConfigDirectoryTest, AMissingDirectoryIsSaid) {
  TempDir dir;
  ConfigSnapshot snapshot = ReadConfigDirectory(dir.Join("net.d"));
  EXPECT_FALSE(snapshot.config.has_value());
  EXPECT_THAT(snapshot.missing, HasSubstr("net.d"));
}

TEST(DirectoryWatchTest, SeesFilesComeChangeAndGo) {
  TempDir dir;
  auto watch = DirectoryWatch::Create(dir.path());
  ASSERT_TRUE(watch.ok()) << watch.status().ToString();
  EXPECT_FALSE(watch->Drain());
  dir.Write("a.conf", kBridge);  // written elsewhere in the directory and renamed
  EXPECT_TRUE(watch->Drain());
  EXPECT_FALSE(watch->Drain());
  std::FILE* file = std::fopen(dir.Join("a.conf").c_str(), "w");
  ASSERT_NE(file, nullptr);
  std::fclose(file);
  EXPECT_TRUE(watch->Drain());
  ASSERT_EQ(::symlink("a.conf", dir.Join("b.conf").c_str()), 0);
  EXPECT_TRUE(watch->Drain());
  ASSERT_EQ(::unlink(dir.Join("a.conf").c_str()), 0);
  EXPECT_TRUE(watch->Drain());
}

TEST(DirectoryWatchTest, FollowsADirectoryThatComesLater) {
  TempDir dir;
  std::string target = dir.Join("cni/net.d");
  auto watch = DirectoryWatch::Create(target + "/");
  ASSERT_TRUE(watch.ok()) << watch.status().ToString();
  EXPECT_EQ(watch->watched(), dir.path());
  dir.Write("unrelated", "");
  EXPECT_FALSE(watch->Drain());
  ASSERT_EQ(::mkdir(dir.Join("cni").c_str(), 0755), 0);
  EXPECT_FALSE(watch->Drain());
  EXPECT_EQ(watch->watched(), dir.Join("cni"));
  ASSERT_EQ(::mkdir(target.c_str(), 0755), 0);
  EXPECT_TRUE(watch->Drain());
  EXPECT_EQ(watch->watched(), target);
  dir.Write("cni/net.d/a.conf", kBridge);
  EXPECT_TRUE(watch->Drain());
}

TEST(DirectoryWatchTest, BothLevelsAtOnceAreFound) {
  TempDir dir;
  std::string target = dir.Join("cni/net.d");
  auto watch = DirectoryWatch::Create(target);
  ASSERT_TRUE(watch.ok());
  ASSERT_TRUE(sys::MakeDirectories(target, 0755).ok());
  EXPECT_TRUE(watch->Drain());
  EXPECT_EQ(watch->watched(), target);
}

TEST(DirectoryWatchTest, SurvivesRemovalAndMoveOfTheDirectory) {
  TempDir dir;
  std::string target = dir.Join("net.d");
  ASSERT_EQ(::mkdir(target.c_str(), 0755), 0);
  auto watch = DirectoryWatch::Create(target);
  ASSERT_TRUE(watch.ok());
  ASSERT_EQ(::rmdir(target.c_str()), 0);
  EXPECT_TRUE(watch->Drain());
  EXPECT_EQ(watch->watched(), dir.path());
  ASSERT_EQ(::mkdir(target.c_str(), 0755), 0);
  EXPECT_TRUE(watch->Drain());
  ASSERT_EQ(::rename(target.c_str(), dir.Join("old").c_str()), 0);
  EXPECT_TRUE(watch->Drain());
  EXPECT_EQ(watch->watched(), dir.path());
  ASSERT_EQ(::mkdir(target.c_str(), 0755), 0);
  EXPECT_TRUE(watch->Drain());
  EXPECT_EQ(watch->watched(), target);
  dir.Write("old/a.conf", kBridge);
  EXPECT_FALSE(watch->Drain());
}

}  // namespace
}  // namespace davit::network
