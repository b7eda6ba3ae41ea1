#include "network/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "network/plugin_fixture.h"

namespace davit::network {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kFirst[] = R"({"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]})";
constexpr char kSecond[] = R"({"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}],"dns":{"domain":"second"}})";

class PluginTest : public ::testing::Test {
 protected:
  PluginTest() {
    context_.bin_dirs = {"/nonexistent", plugins_.dir().path()};
    context_.plugin_owner = ::geteuid();
    context_.container_id = "c1";
    context_.netns_path = "/proc/self/ns/net";
    context_.interface = "eth0";
    context_.args = "IgnoreUnknown=1";
  }
  static NetworkConfig Config(const std::string& version = "1.0.0") {
    auto config =
        ParseNetworkConfig(R"({"cniVersion":")" + version +
                           R"(","name":"n","plugins":[{"type":"first"},{"type":"second"},{"type":"third"}]})");
    EXPECT_TRUE(config.ok());
    return *config;
  }
  static Deadline Soon() { return Deadline::After(std::chrono::seconds(30)); }

  ScriptPlugins plugins_;
  PluginContext context_;
};

TEST_F(PluginTest, AddRunsInOrderAndHandsTheResultOn) {
  plugins_.AddWithResult("first", kFirst);
  plugins_.AddWithResult("second", kSecond);
  plugins_.Add("third", "cat >/dev/null; sed 's/.*\"prevResult\":\\(.*\\)}$/\\1/' third.ADD.in");
  auto result = AddNetwork(Config(), context_, Soon());
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_THAT(plugins_.Calls(), ElementsAre("ADD first", "ADD second", "ADD third"));
  EXPECT_THAT(*result, HasSubstr("second"));
  EXPECT_THAT(plugins_.Input("first", "ADD"), AllOf(HasSubstr(R"("name":"n")"), Not(HasSubstr("prevResult"))));
  EXPECT_THAT(plugins_.Input("second", "ADD"), HasSubstr("prevResult"));
  EXPECT_THAT(plugins_.Input("third", "ADD"), HasSubstr(R"("domain":"second")"));
  EXPECT_EQ(plugins_.Environment("first", "ADD"),
            "CNI_ARGS=IgnoreUnknown=1\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\n"
            "CNI_NETNS=/proc/self/ns/net\nCNI_PATH=/nonexistent:" +
                plugins_.dir().path() + "\n");
}

TEST_F(PluginTest, DelRunsInReverseWithTheCachedResult) {
  for (const char* name : {"first", "second", "third"}) plugins_.Add(name, "");
  EXPECT_TRUE(DelNetwork(Config(), context_, kSecond, Soon()).ok());
  EXPECT_THAT(plugins_.Calls(), ElementsAre("DEL third", "DEL second", "DEL first"));
  for (const char* name : {"first", "second", "third"}) {
    EXPECT_THAT(plugins_.Input(name, "DEL"), HasSubstr(R"("domain":"second")"));
  }
}

TEST_F(PluginTest, OldVersionsGetNoCachedResultAtDel) {
  for (const char* name : {"first", "second", "third"}) plugins_.Add(name, "");
  EXPECT_TRUE(DelNetwork(Config("0.3.1"), context_, kSecond, Soon()).ok());
  EXPECT_THAT(plugins_.Input("first", "DEL"), Not(HasSubstr("prevResult")));
}

TEST_F(PluginTest, AFailedAddTakesEverythingAwayAndKeepsTheCause) {
  plugins_.AddWithResult("first", kFirst);
  plugins_.Add("second",
               R"(test $CNI_COMMAND = DEL || { echo '{"code":11,"msg":"busy","details":"later"}'; exit 1; })");
  plugins_.Add("third", "");
  auto result = AddNetwork(Config(), context_, Soon());
  EXPECT_EQ(result.code(), StatusCode::kUnavailable);
  EXPECT_EQ(result.status().message(), "plugin second: busy: later");
  EXPECT_THAT(plugins_.Calls(), ElementsAre("ADD first", "ADD second", "DEL third", "DEL second", "DEL first"));
  EXPECT_THAT(plugins_.Input("first", "DEL"), HasSubstr("10.0.0.2"));
}

TEST_F(PluginTest, AFailedCleanUpIsAppended) {
  plugins_.Add("first", "echo died >&2; exit 3");
  plugins_.Add("second", "");
  plugins_.Add("third", "");
  auto result = AddNetwork(Config(), context_, Soon());
  EXPECT_EQ(result.code(), StatusCode::kInternal);
  EXPECT_EQ(result.status().message(),
            "plugin first: ended with exit code 3: died (undo: plugin first: ended with exit code 3: died)");
}

TEST_F(PluginTest, DelGoesOnPastFailuresAndReturnsTheFirst) {
  plugins_.Add("first", "");
  plugins_.Add("second", "exit 2");
  plugins_.Add("third", R"(echo '{"code":999,"msg":"stuck"}'; exit 1)");
  Status status = DelNetwork(Config(), context_, kFirst, Soon());
  EXPECT_EQ(status.message(), "plugin third: stuck");
  EXPECT_THAT(plugins_.Calls(), ElementsAre("DEL third", "DEL second", "DEL first"));
}

TEST_F(PluginTest, AnUnknownContainerCountsAsDeleted) {
  plugins_.Add("first", R"(echo '{"code":3,"msg":"unknown container"}'; exit 1)");
  plugins_.Add("second", "");
  plugins_.Add("third", "");
  EXPECT_TRUE(DelNetwork(Config(), context_, kFirst, Soon()).ok());
}

TEST_F(PluginTest, APluginThatHangsIsKilledAtTheDeadline) {
  plugins_.Add("first", "test $CNI_COMMAND = DEL || exec sleep 1000");
  plugins_.Add("second", "");
  plugins_.Add("third", "");
  auto result = AddNetwork(Config(), context_, Deadline::After(std::chrono::milliseconds(100)));
  EXPECT_EQ(result.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(result.status().message(), HasSubstr("first"));
  EXPECT_THAT(result.status().message(), Not(HasSubstr("undo")));
}

TEST_F(PluginTest, GarbageIsNotHandedOn) {
  for (const char* output : {"", "not json", R"({"ips":[{"address":"nowhere"}]})"}) {
    ScriptPlugins plugins;
    context_.bin_dirs = {plugins.dir().path()};
    plugins.AddWithResult("first", output);
    plugins.Add("second", "");
    plugins.Add("third", "");
    auto result = AddNetwork(Config(), context_, Soon());
    EXPECT_FALSE(result.ok()) << output;
    EXPECT_THAT(result.status().message(), HasSubstr("plugin first"));
    EXPECT_THAT(plugins.Calls(), ElementsAre("ADD first", "DEL third", "DEL second", "DEL first"));
  }
}

TEST_F(PluginTest, AMissingPluginIsFoundBeforeAnythingRuns) {
  plugins_.AddWithResult("first", kFirst);
  plugins_.AddWithResult("third", kFirst);
  auto result = AddNetwork(Config(), context_, Soon());
  EXPECT_EQ(result.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(result.status().message(),
            "plugin second is in none of the directories /nonexistent, " + plugins_.dir().path());
  EXPECT_EQ(plugins_.dir().Read("calls"), "");
}

TEST_F(PluginTest, AnOldPluginInANewListIsConverted) {
  plugins_.AddWithResult("first", R"({"ip4":{"ip":"10.0.0.9/24"}})");
  plugins_.AddWithResult("second", kFirst);
  plugins_.AddWithResult("third", kFirst);
  ASSERT_TRUE(AddNetwork(Config(), context_, Soon()).ok());
  EXPECT_THAT(plugins_.Input("second", "ADD"),
              AllOf(HasSubstr(R"("ips":[{"address":"10.0.0.9/24"}])"), Not(HasSubstr("ip4"))));
}

TEST(FindPluginTest, RefusesFilesThatOthersCanChange) {
  TempDir dir;
  for (unsigned mode : {0775u, 0757u, 0777u}) {
    dir.Write("bridge", "#!/bin/sh\n", mode);
    auto path = FindPlugin("bridge", {dir.path()}, ::geteuid());
    EXPECT_EQ(path.code(), StatusCode::kFailedPrecondition) << mode;
    EXPECT_THAT(path.status().message(), HasSubstr("chmod go-w"));
  }
  dir.Write("bridge", "#!/bin/sh\n", 0755);
  EXPECT_TRUE(FindPlugin("bridge", {dir.path()}, ::geteuid()).ok());
  auto foreign = FindPlugin("bridge", {dir.path()}, ::geteuid() + 1);
  EXPECT_THAT(foreign.status().message(), HasSubstr("chown"));
}

TEST(FindPluginTest, RefusesWhatIsNoExecutable) {
  TempDir dir;
  dir.Write("data", "x", 0644);
  EXPECT_EQ(FindPlugin("data", {dir.path()}, ::geteuid()).code(), StatusCode::kFailedPrecondition);
  ASSERT_EQ(::mkdir(dir.Join("sub").c_str(), 0755), 0);
  EXPECT_EQ(FindPlugin("sub", {dir.path()}, ::geteuid()).code(), StatusCode::kFailedPrecondition);
}

TEST(FindPluginTest, NeverLeavesTheDirectory) {
  EXPECT_FALSE(FindPlugin("../bin/sh", {"/usr/lib"}, 0).ok());
  EXPECT_FALSE(FindPlugin("..", {"/usr/lib"}, 0).ok());
}

TEST(NetnsPinnedTest, KnowsANamespaceFromAPlainFile) {
  TempDir dir;
  dir.Write("net", "");
  EXPECT_TRUE(NetnsPinned("/proc/self/ns/net"));
  EXPECT_FALSE(NetnsPinned(dir.Join("net")));
  EXPECT_FALSE(NetnsPinned(dir.Join("gone")));
  EXPECT_FALSE(NetnsPinned(""));
}

}  // namespace
}  // namespace davit::network
