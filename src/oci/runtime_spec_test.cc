#include "oci/runtime_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "oci/json.h"
#include "oci/json_writer.h"

namespace davit::oci {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::SizeIs;

RuntimeSpec FullSpec() {
  RuntimeSpec spec;
  spec.process.terminal = true;
  spec.process.console_size = ConsoleSize{80, 24};
  spec.process.user = {1000, 50, 0022, {10, 20}};
  spec.process.args = {"/bin/sh", "-c", "echo \"a\\b\"\n\t\x01\x7f é"};
  spec.process.env = {"PATH=/bin"};
  spec.process.cwd = "/srv";
  spec.process.capabilities = CapabilitySets{{"CAP_CHOWN"}, {"CAP_CHOWN"}, {}, {"CAP_CHOWN"}, {}};
  spec.process.rlimits = {{"RLIMIT_NOFILE", 1024, UINT64_MAX}};
  spec.process.no_new_privileges = true;
  spec.process.oom_score_adj = -997;
  spec.process.apparmor_profile = "davit-default";
  spec.process.selinux_label = "system_u:x";
  spec.root = {"/run/davit/r", true};
  spec.hostname = "pod";
  spec.mounts = {{"/data", "bind", "/host", {"rbind", "ro"}, {{0, 100000, 65536}}, {{0, 200000, 65536}}}};
  spec.annotations = {{"k", "v"}};
  spec.linux_.namespaces = {{"pid", ""}, {"network", "/run/netns/x"}};
  spec.linux_.uid_mappings = {{0, 1, 2}};
  spec.linux_.gid_mappings = {{3, 4, 5}};
  spec.linux_.devices = {{"/dev/fuse", 'c', 10, 229, 0666, 0, 0}, {"/dev/p", 'p', 0, 0, {}, {}, {}}};
  spec.linux_.resources.devices = DefaultDeviceRules();
  spec.linux_.resources.memory = {1 << 20, {}, -1, {}, {}};
  spec.linux_.resources.cpu = {512, -1, 100000, "0-1", "0"};
  spec.linux_.resources.pids_limit = -1;
  spec.linux_.resources.block_io.weight = 500;
  spec.linux_.resources.hugepage_limits = {{"2MB", 0}};
  spec.linux_.resources.unified = {{"memory.high", "1"}};
  spec.linux_.cgroups_path = "/kubepods/x";
  spec.linux_.rootfs_propagation = "rslave";
  spec.linux_.masked_paths = DefaultMaskedPaths(2);
  spec.linux_.readonly_paths = DefaultReadonlyPaths();
  spec.linux_.sysctl = {{"net.ipv4.ip_forward", "1"}};
  spec.linux_.seccomp = R"({"defaultAction":"SCMP_ACT_ALLOW"})";
  spec.linux_.mount_label = "l";
  return spec;
}

TEST(RuntimeSpecTest, WritesEveryField) {
  std::string text = ToJson(FullSpec());
  auto doc = ParseJson(text);
  ASSERT_TRUE(doc.ok()) << doc.status().ToString() << text;
  JsonNode root(*doc, "spec");
  EXPECT_EQ(*root.Key("ociVersion").String(), "1.0.2");
  JsonNode process = root.Key("process");
  EXPECT_EQ(*process.Key("terminal").Bool(), true);
  EXPECT_EQ(*process.Key("consoleSize").Key("width").Int64(), 80);
  EXPECT_EQ(*process.Key("user").Key("uid").Int64(), 1000);
  EXPECT_EQ(*process.Key("user").Key("umask").Int64(), 18);
  EXPECT_THAT(*process.Key("user").Key("additionalGids").Elements(), SizeIs(2));
  EXPECT_THAT(*process.Key("args").Strings(), ElementsAre("/bin/sh", "-c", "echo \"a\\b\"\n\t\x01\x7f é"));
  EXPECT_THAT(*process.Key("capabilities").Key("bounding").Strings(), ElementsAre("CAP_CHOWN"));
  EXPECT_TRUE(process.Key("capabilities").Key("ambient").is_array());
  EXPECT_EQ(*(*process.Key("rlimits").Elements())[0].Key("hard").Uint64(), UINT64_MAX);
  EXPECT_EQ(*process.Key("oomScoreAdj").Int64(), -997);
  EXPECT_EQ(*root.Key("root").Key("readonly").Bool(), true);
  JsonNode mount = (*root.Key("mounts").Elements())[0];
  EXPECT_EQ(*(*mount.Key("uidMappings").Elements())[0].Key("hostID").Int64(), 100000);
  JsonNode os = root.Key("linux");
  EXPECT_FALSE((*os.Key("namespaces").Elements())[0].Key("path").present());
  EXPECT_EQ(*(*os.Key("namespaces").Elements())[1].Key("path").String(), "/run/netns/x");
  EXPECT_EQ(*(*os.Key("devices").Elements())[0].Key("fileMode").Int64(), 0666);
  EXPECT_FALSE((*os.Key("devices").Elements())[1].Key("major").present());
  JsonNode resources = os.Key("resources");
  EXPECT_EQ(*resources.Key("memory").Key("swap").Int64(), -1);
  EXPECT_EQ(*resources.Key("cpu").Key("quota").Int64(), -1);
  EXPECT_EQ(*resources.Key("pids").Key("limit").Int64(), -1);
  EXPECT_EQ(*resources.Key("blockIO").Key("weight").Int64(), 500);
  EXPECT_EQ(*(*resources.Key("hugepageLimits").Elements())[0].Key("pageSize").String(), "2MB");
  EXPECT_EQ(*os.Key("seccomp").Key("defaultAction").String(), "SCMP_ACT_ALLOW");
  EXPECT_EQ(*os.Key("sysctl").StringMap(), (std::map<std::string, std::string>{{"net.ipv4.ip_forward", "1"}}));
}

TEST(RuntimeSpecTest, LeavesOutWhatIsNotSet) {
  RuntimeSpec spec;
  spec.process.args = {"x"};
  EXPECT_EQ(ToJson(spec),
            R"({"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},"args":["x"],"cwd":"/",)"
            R"("noNewPrivileges":false},"root":{"path":"rootfs","readonly":false},"mounts":[],)"
            R"("linux":{"namespaces":[],"resources":{}}})");
  EXPECT_EQ(ToJson(Resources{}), "{}");
}

TEST(RuntimeSpecTest, ResourcesForUpdate) {
  Resources resources;
  resources.cpu.shares = 2;
  resources.memory.limit = 1024;
  EXPECT_EQ(ToJson(resources), R"({"memory":{"limit":1024},"cpu":{"shares":2}})");
}

TEST(RuntimeDefaultsTest, MountsComeInAnOrderThatWorks) {
  auto mounts = DefaultMounts();
  std::vector<std::string> where;
  for (const auto& mount : mounts) where.push_back(mount.destination);
  EXPECT_THAT(where, ElementsAre("/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup"));
  EXPECT_THAT(mounts[4].options, Contains("ro"));
  EXPECT_THAT(mounts[5].options, Contains("ro"));
}

TEST(RuntimeDefaultsTest, MasksWhatLeaksFromTheHost) {
  for (const char* path : {"/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/interrupts", "/sys/firmware",
                           "/sys/devices/virtual/powercap", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi"}) {
    EXPECT_THAT(DefaultMaskedPaths(), Contains(path));
  }
  EXPECT_THAT(DefaultMaskedPaths(), Not(Contains("/sys/devices/system/cpu/cpu0/thermal_throttle")));
  EXPECT_THAT(DefaultMaskedPaths(2), Contains("/sys/devices/system/cpu/cpu1/thermal_throttle"));
  EXPECT_THAT(DefaultReadonlyPaths(), Contains("/proc/sys"));
}

TEST(RuntimeDefaultsTest, FourteenSortedCapabilities) {
  auto names = DefaultCapabilities();
  EXPECT_THAT(names, SizeIs(14));
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_THAT(names, Not(Contains("CAP_SYS_ADMIN")));
}

TEST(RuntimeDefaultsTest, DeviceRulesDenyFirst) {
  auto rules = DefaultDeviceRules();
  EXPECT_FALSE(rules[0].allow);
  EXPECT_EQ(rules[0].type, 'a');
  EXPECT_EQ(std::count_if(rules.begin(), rules.end(), [](const DeviceRule& r) { return !r.allow; }), 1);
}

TEST(JsonWriterTest, SeparatesAndNests) {
  JsonWriter out;
  out.BeginObject().Field("a", 1).Key("b").BeginArray().Int(-1).BeginObject().EndObject().Raw("null").EndArray();
  out.Field("c", "x").Field("d", true).EndObject();
  EXPECT_EQ(std::move(out).Take(), R"({"a":1,"b":[-1,{},null],"c":"x","d":true})");
}

TEST(RuntimeSpecTest, HooksHaveAnEnvironmentEvenWhenItIsEmpty) {
  RuntimeSpec spec;
  EXPECT_EQ(ToJson(spec).find("hooks"), std::string::npos);
  spec.hooks.create_runtime = {{"/h", {"h", "x"}, {}, 10}};
  spec.hooks.poststop = {{"/p", {}, {"A=1"}, {}}};
  // Without "env" some runtimes give a hook their own.
  EXPECT_NE(ToJson(spec).find(R"("hooks":{"createRuntime":[{"path":"/h","args":["h","x"],"env":[],"timeout":10}],)"
                              R"("poststop":[{"path":"/p","env":["A=1"]}]})"),
            std::string::npos)
      << ToJson(spec);
}

}  // namespace
}  // namespace davit::oci
