#include "container/cdi.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::container {
namespace {

std::string Spec(const std::string& edits, const std::string& version = "1.0.0") {
  return R"({"cdiVersion":")" + version + R"(","kind":"vendor.com/net","devices":[{"name":"a","containerEdits":)" +
         edits + "}]}";
}

TEST(CdiSpecTest, JsonAndYamlAreTheSame) {
  Result<CdiSpec> from_json = ParseCdiSpec(
      R"({"cdiVersion":"0.7.0","kind":"vendor.com/net","containerEdits":{"env":["ALL=1"]},"devices":[{"name":"a",
          "containerEdits":{"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null","fileMode":438,"permissions":"rw"}],
          "mounts":[{"hostPath":"/lib/x","containerPath":"/lib/y","options":["ro"]}],"additionalGids":[44,0],
          "hooks":[{"hookName":"createRuntime","path":"/bin/true","timeout":3}]}}]})",
      CdiFormat::kJson);
  ASSERT_TRUE(from_json.ok()) << from_json.status().message();
  Result<CdiSpec> from_yaml = ParseCdiSpec(R"(
cdiVersion: "0.7.0"
kind: vendor.com/net
containerEdits: {env: ["ALL=1"]}
devices:
- name: a
  containerEdits:
    deviceNodes:
    - {path: /dev/x, hostPath: /dev/null, fileMode: 0666, permissions: rw}
    mounts: [{hostPath: /lib/x, containerPath: /lib/y, options: [ro]}]
    additionalGids: [44, 0]
    hooks: [{hookName: createRuntime, path: /bin/true, timeout: 3}]
)",
                                           CdiFormat::kYaml);
  ASSERT_TRUE(from_yaml.ok()) << from_yaml.status().message();
  for (const CdiSpec& spec : {*from_json, *from_yaml}) {
    EXPECT_EQ(spec.kind, "vendor.com/net");
    EXPECT_EQ(spec.edits.env, std::vector<std::string>{"ALL=1"});
    const CdiEdits& edits = spec.devices.at(0).edits;
    EXPECT_EQ(edits.device_nodes.at(0).file_mode, 0666u);
    EXPECT_EQ(edits.device_nodes.at(0).host_path, "/dev/null");
    EXPECT_EQ(edits.mounts.at(0).options, std::vector<std::string>{"ro"});
    EXPECT_EQ(edits.additional_gids, std::vector<uint32_t>{44});
    EXPECT_EQ(edits.hooks.at(0).timeout, 3);
  }
}

TEST(CdiSpecTest, YamlNumbersAndTextsAreToldApart) {
  const std::string yaml =
      "cdiVersion: 1.0.0\nkind: vendor.com/net\ndevices: [{name: \"0\", containerEdits: {env: [\"A=1\"]}}]\n";
  Result<CdiSpec> quoted = ParseCdiSpec(yaml, CdiFormat::kYaml);
  ASSERT_TRUE(quoted.ok()) << quoted.status().message();
  EXPECT_EQ(quoted->devices[0].name, "0");
  std::string bare = yaml;
  bare.replace(bare.find("\"0\""), 3, "0");
  EXPECT_EQ(ParseCdiSpec(bare, CdiFormat::kYaml).code(), StatusCode::kInvalidArgument);
}

TEST(CdiSpecTest, BadFilesNameTheKey) {
  struct Case {
    std::string text;
    std::string key;
    StatusCode code = StatusCode::kInvalidArgument;
  };
  for (const Case& bad : {
           Case{"[]", "object"},
           Case{R"({"kind":"v.com/c","devices":[]})", "cdiVersion"},
           Case{Spec("{}", "9.9.9"), "cdiVersion"},
           Case{Spec("{}", "0.2.0"), "cdiVersion"},
           Case{R"({"cdiVersion":"1.0.0","kind":"v.com/c","devices":[]})", "devices"},
           Case{R"({"cdiVersion":"1.0.0","kind":"novendor","devices":[{"name":"a"}]})", "kind"},
           Case{R"({"cdiVersion":"1.0.0","kind":"v.com/c/d","devices":[{"name":"a"}]})", "kind"},
           Case{R"({"cdiVersion":"1.0.0","kind":"v.com/c","devices":[{"name":"a/b"}]})", "name"},
           Case{R"({"cdiVersion":"1.0.0","kind":"v.com/c","devices":[{"name":"a"},{"name":"a"}]})", "already"},
           Case{R"({"cdiVersion":"1.0.0","kind":"v.com/c","extra":1,"devices":[{"name":"a"}]})", "extra"},
           Case{Spec(R"({"unknown":[]})"), "unknown"},
           Case{Spec(R"({"env":["NOVALUE"]})"), "env"},
           Case{Spec(R"({"deviceNodes":[{"path":"dev/x"}]})"), "path"},
           Case{Spec(R"({"deviceNodes":[{"path":"/dev/../x"}]})"), "path"},
           Case{Spec(R"({"deviceNodes":[{"path":"/dev/x","type":"q"}]})"), "type"},
           Case{Spec(R"({"deviceNodes":[{"path":"/dev/x","permissions":"rx"}]})"), "permissions"},
           Case{Spec(R"({"deviceNodes":[{"path":"/dev/x","fileMode":65535}]})"), "fileMode"},
           Case{Spec(R"({"deviceNodes":[{"path":"/dev/x","uid":4294967296}]})"), "uid"},
           Case{Spec(R"({"mounts":[{"hostPath":"/x","containerPath":"/"}]})"), "containerPath"},
           Case{Spec(R"({"hooks":[{"hookName":"onBoot","path":"/x"}]})"), "hookName"},
           Case{Spec(R"({"hooks":[{"hookName":"poststop","path":"x"}]})"), "path"},
           Case{Spec(R"({"hooks":[{"hookName":"poststop","path":"/x","timeout":0}]})"), "timeout"},
           Case{Spec(R"({"intelRdt":{"closID":"x"}})"), "intelRdt", StatusCode::kUnimplemented},
           // Newer than the version declared.
           Case{Spec(R"({"mounts":[{"hostPath":"/x","containerPath":"/y","type":"bind"}]})", "0.3.0"), "0.4.0"},
           Case{Spec(R"({"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/y"}]})", "0.4.0"), "0.5.0"},
           Case{Spec(R"({"additionalGids":[1]})", "0.6.0"), "0.7.0"},
           Case{Spec(R"({"netDevices":[]})", "1.0.0"), "1.1.0"},
       }) {
    Result<CdiSpec> spec = ParseCdiSpec(bad.text, CdiFormat::kJson);
    EXPECT_EQ(spec.code(), bad.code) << bad.text;
    EXPECT_NE(spec.status().message().find(bad.key), std::string::npos) << spec.status().message();
  }
}

TEST(CdiSpecTest, DeepLargeAndManyAreRefused) {
  EXPECT_EQ(ParseCdiSpec(std::string(kMaxCdiFile + 1, ' '), CdiFormat::kYaml).code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(ParseCdiSpec(std::string(500, '['), CdiFormat::kYaml).ok());
  EXPECT_FALSE(ParseCdiSpec(std::string(500, '['), CdiFormat::kJson).ok());
  // Aliases of aliases: nine levels of ten are a billion values.
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    std::string n = std::to_string(i);
    std::string p = "*a" + std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [" + p;
    for (int k = 0; k < 9; ++k) bomb += "," + p;
    bomb += "]\n";
  }
  EXPECT_EQ(ParseCdiSpec(bomb, CdiFormat::kYaml).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ParseCdiSpec("a: b: c", CdiFormat::kYaml).code(), StatusCode::kInvalidArgument);
}

TEST(CdiNameTest, NamesAreVendorClassDevice) {
  EXPECT_EQ(ParseCdiName("nvidia.com/gpu=0")->device, "0");
  EXPECT_EQ(ParseCdiName("v/c.d=GPU-1:2.3_x")->kind, "v/c.d");
  for (const char* bad : {"", "gpu", "v/c", "v/c=", "=a", "v/=a", "/c=a", "v/c=a/b", "1v/c=a", "v/c=-a", "v/c=a-"}) {
    EXPECT_EQ(ParseCdiName(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

class CdiTest : public ::testing::Test {
 protected:
  void Write(const sys::TempDir& dir, const std::string& name, const std::string& text, unsigned mode = 0644) {
    ASSERT_TRUE(sys::WriteFileAtomic(dir.At(name), text, mode, sys::Durability::kAtomic).ok());
  }
  static std::string Env(const std::string& value) { return Spec(R"({"env":["V=)" + value + R"("]})"); }
  std::string Resolved() {
    Result<CdiPlan> plan = cdi_.Resolve({"vendor.com/net=a"});
    if (!plan.ok()) return plan.status().message();
    return plan->back().env.at(0);
  }

  sys::TempDir weak_;
  sys::TempDir strong_;
  Cdi cdi_{{weak_.path(), strong_.path(), "/nonexistent/cdi"}};
};

TEST_F(CdiTest, TheStrongerDirectoryWinsAndFilesAreReadAgain) {
  EXPECT_NE(Resolved().find("vendor.com/net=a is not known"), std::string::npos) << Resolved();
  Write(weak_, "x.json", Env("weak"));
  EXPECT_EQ(Resolved(), "V=weak");
  Write(strong_, "x.yaml", Env("strong"));
  EXPECT_EQ(Resolved(), "V=strong");
  Write(strong_, "x.yaml", Env("changed"));
  EXPECT_EQ(Resolved(), "V=changed");
  ASSERT_TRUE(sys::RemoveTree(strong_.At("x.yaml")).ok());
  EXPECT_EQ(Resolved(), "V=weak");
}

TEST_F(CdiTest, TheSameDeviceTwiceInOneDirectoryIsAConflict) {
  Write(weak_, "x.json", Env("1"));
  Write(weak_, "y.json", Env("2"));
  EXPECT_NE(Resolved().find("x.json"), std::string::npos);
  EXPECT_NE(Resolved().find("y.json"), std::string::npos);
  Write(strong_, "z.json", Env("3"));
  EXPECT_EQ(Resolved(), "V=3") << "a stronger directory settles it";
}

TEST_F(CdiTest, ABrokenFileHurtsOnlyThoseWhoNeedIt) {
  Write(weak_, "broken.json", "{");
  Write(weak_, "open.json", Env("2"), 0666);
  EXPECT_NE(Resolved().find("broken.json"), std::string::npos) << Resolved();
  EXPECT_NE(Resolved().find("writable by everybody"), std::string::npos) << Resolved();
  Write(weak_, "x.json", Env("1"));
  EXPECT_EQ(Resolved(), "V=1");
  Write(weak_, "ignored.txt", Env("3"));
  Write(weak_, ".hidden.json", Env("3"));
  EXPECT_EQ(Resolved(), "V=1");
}

TEST_F(CdiTest, CommonEditsComeOnce) {
  Write(weak_, "x.json",
        R"({"cdiVersion":"1.0.0","kind":"vendor.com/net","containerEdits":{"env":["ALL=1"]},
            "devices":[{"name":"a","containerEdits":{"env":["A=1"]}},{"name":"b","containerEdits":{"env":["B=1"]}}]})");
  CdiPlan plan = *cdi_.Resolve({"vendor.com/net=b", "vendor.com/net=a"});
  ASSERT_EQ(plan.size(), 3u);
  EXPECT_EQ(plan[0].env[0], "ALL=1");
  EXPECT_EQ(plan[1].env[0], "B=1");
}

TEST(CdiRequestsTest, FieldAndAnnotationsEachDeviceOnce) {
  ContainerSpec spec;
  spec.cdi_devices = {"v/c=a"};
  spec.annotations = {{"cdi.k8s.io/plugin_x", "v/c=b, v/c=a"}, {"other", "v/c=z"}};
  EXPECT_EQ(*CdiRequests(spec), (std::vector<std::string>{"v/c=a", "v/c=b"}));
  spec.annotations["cdi.k8s.io/bad"] = "nonsense";
  EXPECT_NE(CdiRequests(spec).status().message().find("cdi.k8s.io/bad"), std::string::npos);
  spec.annotations.clear();
  spec.cdi_devices = {"v/c=a", "x"};
  EXPECT_NE(CdiRequests(spec).status().message().find("CDI_devices[1].name"), std::string::npos);
}

TEST(CdiApplyTest, EditsReachTheSpecification) {
  oci::RuntimeSpec spec;
  spec.process.env = {"PATH=/bin", "V=old"};
  spec.mounts = {{"/a/b", "bind", "/old", {}, {}, {}}};
  CdiSpec cdi = *ParseCdiSpec(Spec(R"({"env":["V=new"],"additionalGids":[7],
               "deviceNodes":[{"path":"/dev/c","hostPath":"/dev/null","permissions":"r"},{"path":"/dev/pipe","type":"p"},
                              {"path":"/dev/made","type":"c","major":1,"minor":7,"uid":5,"fileMode":384}],
               "mounts":[{"hostPath":"/new","containerPath":"/a/b","options":["ro"]},
                         {"hostPath":"tmpfs","containerPath":"/t","type":"tmpfs"}],
               "hooks":[{"hookName":"createRuntime","path":"/h","env":["X=1"]},
                        {"hookName":"poststop","path":"/p","args":["p","q"],"timeout":2}]})"),
                              CdiFormat::kJson);
  Status applied = ApplyCdi({cdi.devices[0].edits}, spec);
  ASSERT_TRUE(applied.ok()) << applied.message();
  EXPECT_EQ(spec.process.env, (std::vector<std::string>{"PATH=/bin", "V=new"}));
  EXPECT_EQ(spec.process.user.additional_gids, std::vector<uint32_t>{7});
  ASSERT_EQ(spec.linux_.devices.size(), 3u);
  EXPECT_EQ(spec.linux_.devices[0].minor, 3);
  EXPECT_EQ(spec.linux_.devices[2].minor, 7);
  EXPECT_EQ(spec.linux_.devices[2].file_mode, 0600u);
  ASSERT_EQ(spec.linux_.resources.devices.size(), 2u) << "a pipe is no device of the cgroup";
  EXPECT_EQ(spec.linux_.resources.devices[0].access, "r");
  ASSERT_EQ(spec.mounts.size(), 2u);
  EXPECT_EQ(spec.mounts[0].type, "tmpfs") << "parents first";
  EXPECT_EQ(spec.mounts[1].source, "/new");
  EXPECT_EQ(spec.mounts[1].options, (std::vector<std::string>{"rbind", "ro"}));
  ASSERT_EQ(spec.hooks.create_runtime.size(), 1u);
  EXPECT_EQ(spec.hooks.create_runtime[0].timeout, 10);
  EXPECT_EQ(spec.hooks.create_runtime[0].env.size(), 2u) << "PATH and its own, nothing else";
  EXPECT_EQ(spec.hooks.create_runtime[0].args, std::vector<std::string>{"/h"});
  EXPECT_EQ(spec.hooks.poststop[0].timeout, 2);

  CdiSpec absent = *ParseCdiSpec(Spec(R"({"deviceNodes":[{"path":"/dev/not-there"}]})"), CdiFormat::kJson);
  Status missing = ApplyCdi({absent.devices[0].edits}, spec);
  EXPECT_EQ(missing.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(missing.message().find("/dev/not-there"), std::string::npos);
  CdiSpec wrong = *ParseCdiSpec(Spec(R"({"deviceNodes":[{"path":"/dev/null","type":"b"}]})"), CdiFormat::kJson);
  EXPECT_EQ(ApplyCdi({wrong.devices[0].edits}, spec).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::container
