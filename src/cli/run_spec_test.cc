#include "cli/run_spec.h"

#include <gtest/gtest.h>

#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

RunOptions Options() {
  RunOptions options;
  options.image = "busybox";
  return options;
}

TEST(RunSpecTest, FillsThePod) {
  RunOptions options = Options();
  options.labels = {"app=web"};
  options.ports = {"8080:80", "127.0.0.1:53:5353/udp", "[::1]:1:2"};
  auto pod = RunPodConfig(options, "web", "uid");
  ASSERT_TRUE(pod.ok()) << pod.status().ToString();
  EXPECT_EQ(pod->metadata().name(), "web");
  EXPECT_EQ(pod->hostname(), "web");
  EXPECT_EQ(pod->log_directory(), "/var/log/davit/web_uid");
  EXPECT_EQ(pod->labels().at("app"), "web");
  ASSERT_EQ(pod->port_mappings_size(), 3);
  EXPECT_EQ(pod->port_mappings(0).host_port(), 8080);
  EXPECT_EQ(pod->port_mappings(0).container_port(), 80);
  EXPECT_EQ(pod->port_mappings(1).host_ip(), "127.0.0.1");
  EXPECT_EQ(pod->port_mappings(1).protocol(), cri::UDP);
  EXPECT_EQ(pod->port_mappings(2).host_ip(), "::1");
}

TEST(RunSpecTest, FillsTheContainer) {
  RunOptions options = Options();
  options.command = {"sh", "-c", "true"};
  options.env = {"A=1", "B=x=y", "DAVIT_TEST_UNSET_VARIABLE"};
  options.volumes = {"/a:/b", "/c:/d:ro"};
  options.user = "1000:50";
  options.interactive = true;
  auto container = RunContainerConfig(options, "web");
  ASSERT_TRUE(container.ok()) << container.status().ToString();
  EXPECT_EQ(container->args_size(), 3);
  ASSERT_EQ(container->envs_size(), 2);
  EXPECT_EQ(container->envs(1).value(), "x=y");
  EXPECT_FALSE(container->mounts(0).readonly());
  EXPECT_TRUE(container->mounts(1).readonly());
  EXPECT_EQ(container->linux().security_context().run_as_user().value(), 1000);
  EXPECT_EQ(container->linux().security_context().run_as_group().value(), 50);
  EXPECT_TRUE(container->stdin());
  EXPECT_TRUE(container->stdin_once());
}

TEST(RunSpecTest, TakesUsersByName) {
  RunOptions options = Options();
  options.user = "nobody";
  auto container = RunContainerConfig(options, "web");
  EXPECT_EQ(container->linux().security_context().run_as_username(), "nobody");
  EXPECT_FALSE(container->linux().security_context().has_run_as_user());
}

TEST(RunSpecTest, ErrorsNameTheFlag) {
  auto message = [](auto change) {
    RunOptions options = Options();
    change(options);
    auto pod = RunPodConfig(options, "web", "uid");
    return pod.ok() ? RunContainerConfig(options, "web").status().message() : pod.status().message();
  };
  EXPECT_EQ(message([](RunOptions& o) { o.ports = {"80"}; }), "-p \"80\" is not HOST:CONTAINER");
  EXPECT_EQ(message([](RunOptions& o) { o.ports = {"80:99999"}; }),
            "-p \"80:99999\": \"99999\" is no port (1 to 65535)");
  EXPECT_EQ(message([](RunOptions& o) { o.ports = {"80:80/icmp"}; }),
            "-p \"80:80/icmp\": the protocol is tcp, udp or sctp");
  EXPECT_EQ(message([](RunOptions& o) { o.volumes = {"a:/b"}; }), "-v \"a:/b\": both paths must be absolute");
  EXPECT_EQ(message([](RunOptions& o) { o.volumes = {"/a:/b:rx"}; }), "-v \"/a:/b:rx\" is not SOURCE:TARGET[:ro]");
  EXPECT_EQ(message([](RunOptions& o) { o.labels = {"x"}; }), "--label \"x\" is not key=value");
  EXPECT_EQ(message([](RunOptions& o) { o.env = {"=x"}; }), "-e \"=x\" has no name");
  EXPECT_EQ(message([](RunOptions& o) { o.user = "me:staff"; }), "-u \"me:staff\": the group must be a number");
  EXPECT_EQ(message([](RunOptions& o) { o.networks = {"none"}; }), "--net \"none\": pod or host");
}

TEST(RunSpecTest, OnlyDirectoriesOfRunsAreRemovedWithTheirPods) {
  EXPECT_TRUE(IsRunLogDirectory("/var/log/davit/web_1"));
  for (const char* path : {"", "/", "/etc", "/var/log/davit", "/var/log/davit/", "/var/log/davit/..",
                           "/var/log/davit/a/b", "/var/log/davitx/a", "/var/log/davit/../x"}) {
    EXPECT_FALSE(IsRunLogDirectory(path)) << path;
  }
}

TEST(RunSpecTest, HostNetworkHasNoPortsOrHostname) {
  RunOptions options = Options();
  options.networks = {"host"};
  auto pod = RunPodConfig(options, "web", "uid");
  EXPECT_EQ(pod->linux().security_context().namespace_options().network(), cri::NODE);
  EXPECT_EQ(pod->hostname(), "");
  options.ports = {"80:80"};
  EXPECT_FALSE(RunPodConfig(options, "web", "uid").ok());
}

}  // namespace
}  // namespace davit::cli
