#include "cli/standalone_spec.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

RunOptions Options() {
  RunOptions options;
  options.name = "web";
  options.image = "busybox";
  return options;
}

// The whole message for a set of flags: what is not named is not sent.
void ExpectRequest(const RunOptions& options, const std::string& golden) {
  auto spec = MakeStandaloneSpec(options);
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  control::v1::CreateContainerRequest wanted;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(golden, &wanted));
  google::protobuf::util::MessageDifferencer differ;
  std::string difference;
  differ.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differ.Compare(wanted, spec->request)) << difference;
}

TEST(StandaloneSpecTest, PlainRun) {
  RunOptions options = Options();
  options.command = {"echo", "hi"};
  ExpectRequest(options, R"(
    pod_config {
      metadata { name: "web" }
      linux { security_context { namespace_options { pid: CONTAINER } } }
    }
    pod_options {}
    config {
      metadata { name: "web" }
      image { image: "busybox" user_specified_image: "busybox" }
      args: "echo" args: "hi"
      linux {
        resources {}
        security_context {
          namespace_options { pid: CONTAINER } seccomp { profile_type: RuntimeDefault }
        }
      }
    }
    options { name: "web" }
  )");
}

TEST(StandaloneSpecTest, ServiceWithEverythingThatIsCommon) {
  RunOptions options = Options();
  options.detach = true;
  options.env = {"B=2", "A=1", "B=3"};
  options.labels = {"app=web", "bare"};
  options.ports = {"8080:80", "53/udp"};
  options.volumes = {"/srv:/srv:ro", "data:/data", "/cache"};
  options.networks = {"back"};
  options.aliases = {"db"};
  options.address = "10.90.0.5";
  options.hostname = "box";
  options.entrypoint = "/bin/sh";
  options.command = {"-c", "true"};
  options.restart = "on-failure:3";
  options.health_command = "true";
  options.health_interval = "5s";
  options.health_retries = 2;
  options.memory = "64m";
  options.cpus = 1.5;
  options.capabilities = {"NET_ADMIN"};
  options.dropped_capabilities = {"ALL"};
  options.read_only = true;
  options.init = true;
  options.stop_signal = "SIGINT";
  options.stop_timeout = 3;
  options.ulimits = {"nofile=64:128"};
  options.hosts = {"db:10.0.0.1"};
  options.dns = {"10.0.0.2"};
  options.user = "1000:50";
  ExpectRequest(options, R"(
    pod_config {
      metadata { name: "web" }
      hostname: "box"
      dns_config { servers: "10.0.0.2" }
      port_mappings { container_port: 80 host_port: 8080 }
      port_mappings { protocol: UDP container_port: 53 }
      linux { security_context { namespace_options { pid: CONTAINER } } }
    }
    pod_options {
      networks { network: "back" aliases: "db" ipv4_address: "10.90.0.5" }
      extra_hosts: "db:10.0.0.1"
      random_ports: true
    }
    config {
      metadata { name: "web" }
      image { image: "busybox" user_specified_image: "busybox" }
      command: "/bin/sh" args: "-c" args: "true"
      envs { key: "A" value: "1" } envs { key: "B" value: "3" }
      mounts { host_path: "/srv" container_path: "/srv" readonly: true }
      labels { key: "app" value: "web" } labels { key: "bare" value: "" }
      linux {
        resources { cpu_period: 100000 cpu_quota: 150000 memory_limit_in_bytes: 67108864 }
        security_context {
          capabilities { add_capabilities: "NET_ADMIN" drop_capabilities: "ALL" }
          namespace_options { pid: CONTAINER }
          run_as_user { value: 1000 } run_as_group { value: 50 }
          readonly_rootfs: true
          seccomp { profile_type: RuntimeDefault }
        }
      }
    }
    options {
      name: "web"
      restart { name: "on-failure" maximum_retries: 3 }
      health { test: "CMD-SHELL" test: "true" interval: 5000000000 retries: 2 }
      stop_timeout_seconds: 3
      volumes { name: "data" container_path: "/data" } volumes { container_path: "/cache" }
      init: true
      stop_signal: "SIGINT"
      ulimits { name: "nofile" soft: 64 hard: 128 }
    }
  )");
}

TEST(StandaloneSpecTest, TmpfsIsAVolumeOfItsOwn) {
  RunOptions options = Options();
  options.tmpfs = {"/t:size=1m"};
  auto spec = MakeStandaloneSpec(options);
  ASSERT_TRUE(spec.ok());
  ASSERT_EQ(spec->new_volumes.size(), 1u);
  EXPECT_EQ(spec->new_volumes[0].first.options().at("type"), "tmpfs");
  EXPECT_EQ(spec->new_volumes[0].first.options().at("o"), "size=1m");
  EXPECT_EQ(spec->new_volumes[0].second.container_path(), "/t");
}

TEST(StandaloneSpecTest, InAPodTheNetworkIsThePods) {
  RunOptions options = Options();
  options.pod = "team";
  auto spec = MakeStandaloneSpec(options);
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->request.pod(), "team");
  EXPECT_FALSE(spec->request.has_pod_config());
  options.ports = {"80:80"};
  EXPECT_EQ(MakeStandaloneSpec(options).code(), StatusCode::kInvalidArgument);
}

TEST(StandaloneSpecTest, HostNetwork) {
  RunOptions options = Options();
  options.networks = {"host"};
  auto spec = MakeStandaloneSpec(options);
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->request.pod_config().linux().security_context().namespace_options().network(), cri::NODE);
  EXPECT_EQ(spec->request.config().linux().security_context().namespace_options().network(), cri::NODE);
  options.networks = {"host", "back"};
  EXPECT_FALSE(MakeStandaloneSpec(options).ok());
  options.networks = {"none"};
  EXPECT_TRUE(MakeStandaloneSpec(options)->request.pod_options().no_network());
}

TEST(StandaloneSpecTest, ErrorsNameTheFlag) {
  auto message = [](auto change) {
    RunOptions options = Options();
    change(options);
    return MakeStandaloneSpec(options).status().message();
  };
  EXPECT_EQ(message([](RunOptions& o) { o.env = {"=x"}; }), "-e \"=x\" has no name");
  EXPECT_EQ(message([](RunOptions& o) { o.labels = {"=x"}; }), "--label \"=x\" has no key");
  EXPECT_EQ(message([](RunOptions& o) { o.hosts = {"db"}; }), "--add-host \"db\" is not NAME:ADDRESS");
  EXPECT_EQ(message([](RunOptions& o) { o.networks = {"none"}, o.ports = {"80:80"}; }),
            "-p makes no sense with --network host or none");
  EXPECT_EQ(message([](RunOptions& o) { o.remove = true, o.restart = "always"; }),
            "--rm and --restart exclude each other: one removes what the other starts again");
  EXPECT_EQ(message([](RunOptions& o) { o.entrypoint = "[1]"; }), "--entrypoint [1] is no array of strings");
  EXPECT_EQ(message([](RunOptions& o) { o.pid = "container:x"; }), "--pid \"container:x\": host or private");
  EXPECT_EQ(message([](RunOptions& o) { o.no_health = true, o.health_command = "true"; }),
            "--no-healthcheck and --health-cmd exclude each other");
  EXPECT_NE(message([](RunOptions& o) { o.env_files = {"/no/such/file"}; }).find("/no/such/file"), std::string::npos);
}

TEST(StandaloneSpecTest, EntrypointsOfDockerAndPodman) {
  RunOptions options = Options();
  options.entrypoint = "";
  EXPECT_TRUE(MakeStandaloneSpec(options)->request.options().clear_entrypoint());
  options.entrypoint = R"(["sh","-c"])";
  EXPECT_EQ(MakeStandaloneSpec(options)->request.config().command_size(), 2);
}

TEST(StandaloneSpecTest, NamesAreNamesOfContainers) {
  for (int i = 0; i < 100; ++i) {
    std::string name = ChooseName();
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"), std::string::npos) << name;
  }
}

TEST(StandaloneSpecTest, KnowsWhatOtherRuntimesCannot) {
  EXPECT_EQ(FlagOfDavitd(Options()), "");
  RunOptions options = Options();
  options.restart = "always";
  EXPECT_EQ(FlagOfDavitd(options), "--restart");
}

}  // namespace
}  // namespace davit::cli
