#include "oci/runtime_spec_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "oci/json.h"

namespace davit::oci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A specification with `member` set to JSON text in place of what is there: "linux.namespaces", "[]".
std::string With(std::string_view path, std::string_view json) {
  boost::json::value document = *ParseJson(R"({
    "ociVersion": "1.3.0",
    "process": {"user": {"uid": 1, "gid": 2}, "args": ["sh"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "network"},
                             {"type": "ipc"}, {"type": "user"}, {"type": "time"}]}})");
  boost::json::object* object = &document.as_object();
  while (path.find('.') != std::string_view::npos) {
    std::string_view key = path.substr(0, path.find('.'));
    path.remove_prefix(key.size() + 1);
    boost::json::value& next = (*object)[boost::json::string_view(key.data(), key.size())];
    if (!next.is_object()) next = boost::json::object();
    object = &next.as_object();
  }
  boost::json::string_view last(path.data(), path.size());
  if (json.empty()) {
    object->erase(last);
  } else {
    (*object)[last] = *ParseJson(json);
  }
  return WriteJson(document);
}

std::string ErrorOf(std::string_view path, std::string_view json) {
  auto spec = ParseRuntimeSpec(With(path, json));
  return spec.ok() ? "accepted" : spec.status().message();
}

// Everything that the specification has, in one document; what the reader takes the writer gives back.
constexpr std::string_view kWhole =
    R"({"ociVersion":"1.3.0","process":{"terminal":true,"consoleSize":{"height":24,)"
    R"("width":80},"user":{"uid":1,"gid":2,"umask":63,"additionalGids":[5,6]},"args":["sh","-c","x"],"env":["A=b"],)"
    R"("cwd":"/srv","capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"inheritable":[],)"
    R"("permitted":["CAP_KILL"],"ambient":[]},"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615,)"
    R"("soft":1024}],"noNewPrivileges":true,"oomScoreAdj":-5,"apparmorProfile":"p","selinuxLabel":"l",)"
    R"("scheduler":{"policy":"SCHED_DEADLINE","nice":3,"flags":["SCHED_FLAG_RESET_ON_FORK"],"runtime":1,"deadline":2,)"
    R"("period":3},"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"execCPUAffinity":{"initial":"0-1",)"
    R"("final":"1"}},"root":{"path":"rootfs","readonly":true},"hostname":"h","domainname":"d","mounts":[)"
    R"({"destination":"/data","type":"bind","source":"/src","options":["rbind","rro"],"uidMappings":[{"containerID":0,)"
    R"("hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":1000,"size":10}]}],"annotations":{"a":"b"},)"
    R"("hooks":{"prestart":[{"path":"/h","args":["h"],"env":["E=1"],"timeout":3}],"createRuntime":[{"path":"/1",)"
    R"("env":[]}],"createContainer":[{"path":"/2","env":[]}],"startContainer":[{"path":"/3","env":[]}],"poststart":[)"
    R"({"path":"/4","env":[]}],"poststop":[{"path":"/5","env":[]}]},"linux":{"uidMappings":[{"containerID":0,)"
    R"("hostID":100000,"size":65536}],"gidMappings":[{"containerID":0,"hostID":100000,"size":65536}],"namespaces":[)"
    R"({"type":"pid"},{"type":"network","path":"/run/netns/x"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},)"
    R"({"type":"user"},{"type":"cgroup"},{"type":"time"}],"devices":[{"path":"/dev/fuse","type":"c","major":10,)"
    R"("minor":229,"fileMode":438,"uid":0,"gid":0},{"path":"/dev/p","type":"p"}],"resources":{"devices":[)"
    R"({"allow":false,"type":"a","access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}],)"
    R"("memory":{"limit":1,"reservation":2,"swap":-1,"swappiness":60,"disableOOMKiller":true,"kernel":4,"kernelTCP":5,)"
    R"("useHierarchy":true,"checkBeforeUpdate":true},"cpu":{"shares":512,"quota":-1,"period":100000,"cpus":"0-3,7",)"
    R"("mems":"0","burst":10,"realtimeRuntime":11,"realtimePeriod":12,"idle":1},"pids":{"limit":-1},"blockIO":{)"
    R"("weight":10,"leafWeight":1000,"weightDevice":[{"major":8,"minor":0,"weight":500,"leafWeight":300}],)"
    R"("throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],"throttleWriteBpsDevice":[{"major":8,"minor":1,)"
    R"("rate":0}],"throttleReadIOPSDevice":[{"major":8,"minor":2,"rate":1}],"throttleWriteIOPSDevice":[{"major":8,)"
    R"("minor":3,"rate":2}]},"hugepageLimits":[{"pageSize":"2MB","limit":9}],"network":{"classID":1048577,)"
    R"("priorities":[{"name":"eth0","priority":500}]},"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}},)"
    R"("unified":{"memory.high":"1"}},"cgroupsPath":"/a/b","rootfsPropagation":"rslave","maskedPaths":["/proc/kcore"],)"
    R"("readonlyPaths":["/proc/sys"],"sysctl":{"net.ipv4.ip_forward":"1"},"seccomp":{"defaultAction":"SCMP_ACT_ERRNO",)"
    R"("defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],)"
    R"("listenerPath":"/run/l","listenerMetadata":"m","syscalls":[{"names":["mount","read"],"action":"SCMP_ACT_ERRNO",)"
    R"("errnoRet":1,"args":[{"index":1,"value":2,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"}]}]},"mountLabel":"ml",)"
    R"("netDevices":{"eth1":{"name":"net1"},"eth2":{}},"intelRdt":{"closID":"g","schemata":["L2:0=f"],)"
    R"("l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20","enableMonitoring":true},"memoryPolicy":{"mode":"MPOL_BIND",)"
    R"("nodes":"0-1","flags":["MPOL_F_STATIC_NODES"]},"personality":{"domain":"LINUX32"},"timeOffsets":{"boottime":{)"
    R"("secs":-1,"nanosecs":2},"monotonic":{"secs":3,"nanosecs":0}}}})";

TEST(RuntimeSpecReaderTest, ReadsAllThatTheSpecificationHas) {
  auto spec = ParseRuntimeSpec(kWhole);
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  EXPECT_EQ(ToJson(*spec), kWhole);
  EXPECT_EQ(spec->linux_.resources.cpu.idle, 1);
  EXPECT_EQ(spec->linux_.net_devices.at("eth2"), "");
  EXPECT_THAT(spec->process.user.additional_gids, ElementsAre(5, 6));
}

TEST(RuntimeSpecReaderTest, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(ErrorOf("linux.namespaces", R"([{"type":"pid"},{"type":"mount"},{"type":"netwrok"}])"),
              StartsWith("linux.namespaces[2].type: \"netwrok\" is none of pid, network"));
  EXPECT_EQ(ErrorOf("linux.namespaces", R"([{"type":"pid"},{"type":"pid"}])"),
            "linux.namespaces[1].type: pid occurs twice");
  EXPECT_EQ(ErrorOf("linux.namespaces", R"([7])"), "linux.namespaces[0]: expected an object, found an integer");
  EXPECT_EQ(ErrorOf("linux.namespaces", R"([null])"), "linux.namespaces[0]: expected an object");
  EXPECT_THAT(ErrorOf("linux.namespaces", R"([{"type":"pid","path":"x"}])"), StartsWith("linux.namespaces[0].path:"));
  EXPECT_EQ(ErrorOf("process.user.uid", "4294967296"), "process.user.uid: 4294967296 is out of range");
  EXPECT_EQ(ErrorOf("process.user.uid", "-1"), "process.user.uid: expected a number that is not negative");
  EXPECT_EQ(ErrorOf("process.args", "[1]"), "process.args[0]: expected a string, found an integer");
  EXPECT_EQ(ErrorOf("process.args", R"(["a\u0000b"])"), "process.args[0]: holds a NUL byte");
  EXPECT_THAT(ErrorOf("process.args", "[]"), StartsWith("process.args: missing"));
  EXPECT_THAT(ErrorOf("process.cwd", R"("x")"), StartsWith("process.cwd: \"x\" is not an absolute path"));
  EXPECT_EQ(ErrorOf("process", ""), "process: expected an object");
  EXPECT_EQ(ErrorOf("root", ""), "root: expected an object");
  EXPECT_THAT(ErrorOf("root", "[]"), StartsWith("root: expected an object, found an array"));
  EXPECT_EQ(ErrorOf("ociVersion", ""), "ociVersion: missing");
  EXPECT_THAT(ErrorOf("ociVersion", R"("2.0.0")"), StartsWith("ociVersion: 2.0.0 is not supported"));
  EXPECT_THAT(ErrorOf("ociVersion", R"("one")"), HasSubstr("is no version"));
  EXPECT_EQ(ErrorOf("ociVersion", R"("1.0.2-dev")"), "accepted");
}

TEST(RuntimeSpecReaderTest, ChecksTheProcess) {
  EXPECT_THAT(ErrorOf("process.rlimits", R"([{"type":"RLIMIT_X","soft":1,"hard":1}])"),
              StartsWith("process.rlimits[0].type:"));
  EXPECT_THAT(ErrorOf("process.rlimits", R"([{"type":"RLIMIT_CPU","soft":2,"hard":1}])"),
              StartsWith("process.rlimits[0].soft:"));
  EXPECT_THAT(ErrorOf("process.rlimits",
                      R"([{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}])"),
              HasSubstr("occurs twice"));
  EXPECT_THAT(ErrorOf("process.oomScoreAdj", "1001"), StartsWith("process.oomScoreAdj:"));
  EXPECT_THAT(ErrorOf("process.scheduler", R"({"policy":"SCHED_OTHER","priority":1})"),
              StartsWith("process.scheduler.priority:"));
  EXPECT_THAT(ErrorOf("process.ioPriority", R"({"class":"IOPRIO_CLASS_BE","priority":8})"),
              StartsWith("process.ioPriority.priority:"));
  EXPECT_THAT(ErrorOf("process.execCPUAffinity", R"({"initial":"3-1"})"),
              StartsWith("process.execCPUAffinity.initial:"));
}

TEST(RuntimeSpecReaderTest, WhatNeedsANamespaceSaysSo) {
  EXPECT_THAT(ErrorOf("linux", R"({"uidMappings":[{"containerID":0,"hostID":1,"size":1}]})"),
              StartsWith("linux.uidMappings: goes with a user namespace"));
  EXPECT_THAT(ErrorOf("linux", R"({"timeOffsets":{"monotonic":{"secs":1}}})"), StartsWith("linux.timeOffsets:"));
  EXPECT_THAT(ErrorOf("linux", R"({"sysctl":{"net.core.somaxconn":"1"}})"),
              StartsWith("linux.sysctl.net.core.somaxconn: goes with a namespace of type network"));
  EXPECT_THAT(ErrorOf("linux.sysctl", R"({"vm.swappiness":"1"})"), HasSubstr("for the whole machine"));
  EXPECT_THAT(ErrorOf("linux.sysctl", R"({"net/../vm/swappiness":"1"})"), HasSubstr("is no name of a sysctl"));
  EXPECT_EQ(ErrorOf("linux.sysctl", R"({"net/ipv4/conf/eth0.1/forwarding":"1"})"), "accepted");
  EXPECT_THAT(ErrorOf("linux", R"({"netDevices":{"eth1":{}}})"), StartsWith("linux.netDevices:"));
  EXPECT_EQ(ErrorOf("hostname", R"("x")"), "accepted");
}

TEST(RuntimeSpecReaderTest, ChecksMountsDevicesAndHooks) {
  auto relative = ParseRuntimeSpec(With("mounts", R"([{"destination":"data"}])"));
  ASSERT_TRUE(relative.ok());
  EXPECT_EQ(relative->mounts[0].destination, "/data");
  EXPECT_THAT(ErrorOf("mounts", R"([{}])"), StartsWith("mounts[0].destination: missing"));
  EXPECT_THAT(ErrorOf("mounts", R"([{"destination":"/d","uidMappings":[{"containerID":0,"hostID":0,"size":1}]}])"),
              StartsWith("mounts[0]: uidMappings and gidMappings"));
  EXPECT_THAT(ErrorOf("linux.devices", R"([{"path":"/dev/x","type":"cc"}])"), StartsWith("linux.devices[0].type:"));
  EXPECT_THAT(ErrorOf("linux.devices", R"([{"path":"x","type":"c"}])"), StartsWith("linux.devices[0].path:"));
  auto device = ParseRuntimeSpec(With("linux.devices", R"([{"path":"/dev/x","type":"c","fileMode":8630}])"));
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(device->linux_.devices[0].file_mode, 0666u);
  EXPECT_THAT(ErrorOf("hooks.poststop", R"([{"path":"h"}])"), StartsWith("hooks.poststop[0].path:"));
  EXPECT_THAT(ErrorOf("hooks.prestart", R"([{"path":"/h","timeout":0}])"), StartsWith("hooks.prestart[0].timeout:"));
  EXPECT_THAT(ErrorOf("linux.rootfsPropagation", R"("x")"), StartsWith("linux.rootfsPropagation:"));
  EXPECT_THAT(ErrorOf("linux.maskedPaths", R"(["/a","b"])"), StartsWith("linux.maskedPaths[1]:"));
}

TEST(RuntimeSpecReaderTest, ChecksResources) {
  auto error = [](std::string_view json) {
    auto resources = ParseResources(json);
    return resources.ok() ? std::string("accepted") : resources.status().message();
  };
  EXPECT_THAT(error(R"({"devices":[{"allow":true,"access":"x"}]})"), StartsWith("resources.devices[0].access:"));
  EXPECT_THAT(error(R"({"blockIO":{"weight":9}})"), StartsWith("resources.blockIO.weight:"));
  EXPECT_THAT(error(R"({"blockIO":{"weight":65536}})"), StartsWith("resources.blockIO.weight: 65536"));
  EXPECT_THAT(error(R"({"hugepageLimits":[{"pageSize":"../x","limit":1}]})"),
              StartsWith("resources.hugepageLimits[0].pageSize:"));
  EXPECT_THAT(error(R"({"unified":{"../cgroup.procs":"1"}})"), StartsWith("resources.unified:"));
  EXPECT_THAT(error(R"({"rdma":{"a b":{}}})"), StartsWith("resources.rdma:"));
  EXPECT_THAT(error(R"({"cpu":{"cpus":"a"}})"), StartsWith("resources.cpu.cpus:"));
  auto any = ParseResources(R"({"devices":[{"allow":true,"type":"c","major":-1,"minor":5}]})");
  ASSERT_TRUE(any.ok()) << any.status().ToString();
  EXPECT_FALSE(any->devices[0].major);
  EXPECT_EQ(any->devices[0].access, "rwm");
}

TEST(RuntimeSpecReaderTest, ChecksSeccomp) {
  auto error = [](std::string_view json) {
    auto seccomp = ParseSeccomp(json);
    return seccomp.ok() ? std::string("accepted") : seccomp.status().message();
  };
  EXPECT_EQ(error("{}"), "seccomp.defaultAction: missing");
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1})"),
              StartsWith("seccomp.defaultErrnoRet: goes with"));
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_KILL"}]})"),
              StartsWith("seccomp.syscalls[0].names:"));
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_NOTIFY"}]})"),
              StartsWith("seccomp.listenerPath: missing"));
  EXPECT_THAT(error(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_KILL",)"
                    R"("args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]})"),
              StartsWith("seccomp.syscalls[0].args[0].index:"));
}

TEST(RuntimeSpecReaderTest, CapsWhatComesFromOutside) {
  EXPECT_EQ(ParseRuntimeSpec(std::string(kMaxRuntimeSpecBytes + 1, ' ')).code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(ParseRuntimeSpec(std::string(1000, '[')).ok());
  std::string mappings = "[";
  for (size_t i = 0; i <= kMaxIdMappings; ++i) mappings += R"({"containerID":0,"hostID":0,"size":1},)";
  mappings.back() = ']';
  EXPECT_EQ(ParseRuntimeSpec(With("linux.uidMappings", mappings)).code(), StatusCode::kResourceExhausted);
}

TEST(RuntimeSpecReaderTest, LeavesOutWhatItDoesNotKnow) {
  EXPECT_EQ(ErrorOf("windows", R"({"layerFolders":7})"), "accepted");
  EXPECT_EQ(ErrorOf("linux.resources.new", "[]"), "accepted");
}

}  // namespace
}  // namespace davit::oci
