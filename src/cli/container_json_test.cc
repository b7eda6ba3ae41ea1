#include "cli/container_json.h"

#include <gtest/gtest.h>

#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

TEST(ContainerJsonTest, HasTheKeysThatScriptsAskFor) {
  control::Container one;
  one.set_id("c1");
  one.set_name("web");
  one.set_state(control::STATE_RUNNING);
  one.set_pid(42);
  one.add_command_line("sh");
  auto* env = one.mutable_config()->add_envs();
  env->set_key("A");
  env->set_value("1\n2");
  control::Pod pod;
  pod.add_ips("10.0.0.5");
  auto* port = pod.add_ports();
  port->set_container_port(80);
  port->set_host_port(8080);
  const std::string json = ContainerJson(one, &pod);
  for (const auto& [format, wanted] :
       {std::pair("{{.State.Status}}", "running"), std::pair("{{.State.Pid}}", "42"),
        std::pair("{{.State.Running}} {{.Name}}", "true web"), std::pair("{{json .Config.Env}}", "[\"A=1\\n2\"]"),
        std::pair("{{ .NetworkSettings.IPAddress }}", "10.0.0.5"),
        std::pair("{{json .NetworkSettings.Ports}}", R"({"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]})"),
        std::pair("plain", "plain")}) {
    auto text = Formatted(json, format);
    ASSERT_TRUE(text.ok()) << format << ": " << text.status().ToString();
    EXPECT_EQ(*text, wanted);
  }
}

TEST(ContainerJsonTest, TemplatesAreNotMoreThanTheySay) {
  for (const char* bad : {"{{", "{{range .A}}", "{{.A", "{{len .A}}", "{{}}"}) {
    EXPECT_EQ(Formatted("{\"A\":1}", bad).code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(Formatted("{\"A\":1}", "{{.B}}").code(), StatusCode::kNotFound);
  EXPECT_EQ(Formatted("{\"A\":1}", "{{.A.B}}").code(), StatusCode::kNotFound);
  EXPECT_EQ(Formatted("{\"A\":1}", "{{json .}}").value_or(""), "{\"A\":1}");
}

TEST(ContainerJsonTest, Indents) {
  EXPECT_EQ(Indented(R"([{"a":1,"b":[],"c":{"d":"x"}}])"),
            "[\n  {\n    \"a\": 1,\n    \"b\": [],\n    \"c\": {\n      \"d\": \"x\"\n    }\n  }\n]");
}

}  // namespace
}  // namespace davit::cli
