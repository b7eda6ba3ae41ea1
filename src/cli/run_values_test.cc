#include "cli/run_values.h"

#include <gtest/gtest.h>

#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace cri = ::runtime::v1;

TEST(RunValuesTest, TakesSizes) {
  EXPECT_EQ(ParseBytes("1024", "-m").value_or(-9), 1024);
  EXPECT_EQ(ParseBytes("64k", "-m").value_or(-9), 64 << 10);
  EXPECT_EQ(ParseBytes("256MiB", "-m").value_or(-9), 256 << 20);
  EXPECT_EQ(ParseBytes("1.5g", "-m").value_or(-9), int64_t{3} << 29);
  EXPECT_EQ(ParseBytes("-1", "-m", true).value_or(-9), -1);
  for (const char* bad : {"", "-1", "m", "1x", "1.2.3m", ".", "99999999999999999999", "9999999t"}) {
    EXPECT_EQ(ParseBytes(bad, "--memory").code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseBytes("1x", "--memory").status().message(),
            "--memory \"1x\": is no size (bytes, or with a unit: 64k, 256m, 1.5g)");
}

TEST(RunValuesTest, TakesDurations) {
  constexpr int64_t kSecond = 1'000'000'000;
  EXPECT_EQ(ParseDuration("90", "x").value_or(-9), 90 * kSecond);
  EXPECT_EQ(ParseDuration("1m30s", "x").value_or(-9), 90 * kSecond);
  EXPECT_EQ(ParseDuration("500ms", "x").value_or(-9), kSecond / 2);
  EXPECT_EQ(ParseDuration("1.5h", "x").value_or(-9), 5400 * kSecond);
  for (const char* bad : {"", "s", "1y", "1s1", "-1s", "1s ", "999999999999h"}) {
    EXPECT_EQ(ParseDuration(bad, "x").code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(RunValuesTest, TakesMoments) {
  constexpr int64_t kNow = 1'700'000'000'000'000'000;
  EXPECT_EQ(ParseMoment("2023-11-14T22:13:20Z", "x", 0).value_or(0), kNow);
  EXPECT_EQ(ParseMoment("2023-11-14T22:13:20.5Z", "x", 0).value_or(0), kNow + 500'000'000);
  EXPECT_EQ(ParseMoment("2023-11-15T00:13:20+02:00", "x", 0).value_or(0), kNow);
  EXPECT_EQ(ParseMoment("1700000000", "x", 0).value_or(0), kNow);
  EXPECT_EQ(ParseMoment("10m", "x", kNow).value_or(0), kNow - 600'000'000'000);
  EXPECT_EQ(ParseMoment("1970-01-02", "x", 0).value_or(0), 86'400'000'000'000);
  for (const char* bad : {"", "yesterday", "2023-11-14T22:13:20X", "2023-11-14T22:13:20+2", "99999999999"}) {
    EXPECT_EQ(ParseMoment(bad, "x", 0).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(RunValuesTest, TakesPorts) {
  auto one = ParsePublish("127.0.0.1:8080:80/udp");
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  EXPECT_EQ((*one)[0].host_ip(), "127.0.0.1");
  EXPECT_EQ((*one)[0].host_port(), 8080);
  EXPECT_EQ((*one)[0].container_port(), 80);
  EXPECT_EQ((*one)[0].protocol(), cri::UDP);
  EXPECT_EQ((*ParsePublish("80"))[0].host_port(), 0);
  EXPECT_EQ((*ParsePublish("[::1]::80"))[0].host_ip(), "::1");
  EXPECT_EQ((*ParsePublish("[::1]::80"))[0].host_port(), 0);
  EXPECT_EQ((*ParsePublish("0.0.0.0:1:2"))[0].host_ip(), "");
  auto range = ParsePublish("9000-9002:80-82");
  ASSERT_TRUE(range.ok());
  ASSERT_EQ(range->size(), 3u);
  EXPECT_EQ((*range)[2].host_port(), 9002);
  EXPECT_EQ((*range)[2].container_port(), 82);
  for (const char* bad : {"", ":", "0", "x:80", "80:x", "70000", "1-3:4-5", "3-1", "1-60000", "80/icmp"}) {
    EXPECT_EQ(ParsePublish(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(RunValuesTest, TakesRestartPoliciesAndUlimits) {
  EXPECT_EQ(ParseRestart("on-failure:3")->maximum_retries(), 3u);
  EXPECT_EQ(ParseRestart("unless-stopped")->name(), "unless-stopped");
  for (const char* bad : {"", "sometimes", "always:3", "on-failure:x", "on-failure:-1"}) {
    EXPECT_EQ(ParseRestart(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseUlimit("nofile=1024:2048")->hard(), 2048);
  EXPECT_EQ(ParseUlimit("core=-1")->soft(), -1);
  for (const char* bad : {"", "nofile", "=1", "nofile=", "nofile=x", "nofile=1:2:3", "nofile=-2"}) {
    EXPECT_EQ(ParseUlimit(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(RunValuesTest, TakesMounts) {
  auto bind = ParseVolumeFlag("/a:/b:ro,z,rslave");
  ASSERT_TRUE(bind.ok()) << bind.status().ToString();
  EXPECT_EQ(bind->type, "bind");
  EXPECT_TRUE(bind->readonly && bind->relabel);
  EXPECT_EQ(bind->propagation, "rslave");
  EXPECT_EQ(ParseVolumeFlag("data:/b")->type, "volume");
  EXPECT_EQ(ParseVolumeFlag("/b")->source, "");
  EXPECT_EQ(ParseVolumeFlag("./:/b")->type, "bind");
  for (const char* bad : {"", "a", "a:b", ":/b", "/a:/b:rx", "/a:/b:ro:x"}) {
    EXPECT_FALSE(ParseVolumeFlag(bad).ok()) << bad;
  }
  auto mount = ParseMountFlag("type=volume,src=data,dst=/d,ro,volume-subpath=a/b");
  ASSERT_TRUE(mount.ok()) << mount.status().ToString();
  EXPECT_EQ(mount->sub_path, "a/b");
  EXPECT_TRUE(mount->readonly);
  EXPECT_EQ(ParseMountFlag("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=700")->tmpfs_options, "size=64m,mode=700");
  for (const char* bad :
       {"", "type=npipe,target=/a", "type=bind,src=a,target=/a", "target=a", "colour=red,target=/a"}) {
    EXPECT_EQ(ParseMountFlag(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseTmpfsFlag("/t:size=1m")->tmpfs_options, "size=1m");
  EXPECT_FALSE(ParseTmpfsFlag("t").ok());
}

}  // namespace
}  // namespace davit::cli
