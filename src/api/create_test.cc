#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "api/create_spec.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace cri = ::runtime::v1;

Result<CreateSpec> Docker(std::string_view text, const std::string& name = "c1") {
  auto document = JsonDocument::Parse(text);
  if (!document.ok()) return document.status();
  Result<CreateSpec> spec = DockerCreate(document->root(), name);
  RETURN_IF_ERROR(document->status());
  return spec;
}
Result<CreateSpec> Libpod(std::string_view text, const std::string& name = "") {
  auto document = JsonDocument::Parse(text);
  if (!document.ok()) return document.status();
  Result<CreateSpec> spec = LibpodCreate(document->root(), name);
  RETURN_IF_ERROR(document->status());
  return spec;
}

// What docker 28 sends for `docker run --rm busybox echo hello`, with its zero values.
constexpr char kDockerRun[] =
    R"({"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,
"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["echo","hello"],"Image":"busybox","Volumes":{},"WorkingDir":"",
"Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"",
"Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},
"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"",
"Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,
"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,
"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"",
"BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"MemorySwap":0,"MemorySwappiness":-1,"PidsLimit":0,
"Ulimits":[],"MaskedPaths":null,"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,
"Links":null,"Aliases":null,"MacAddress":"","NetworkID":""}}}})";

TEST(DockerCreateTest, ZeroValuesSayNothing) {
  auto spec = Docker(kDockerRun);
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  EXPECT_TRUE(spec->warnings.empty());
  EXPECT_EQ(spec->image, "busybox");
  control::v1::CreateContainerRequest expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        pod_config {
          metadata { name: "c1" }
          linux { security_context { namespace_options { pid: CONTAINER } } }
        }
        config {
          metadata { name: "c1" }
          args: "echo"
          args: "hello"
          linux {
            resources {}
            security_context {
              namespace_options { pid: CONTAINER }
              seccomp { profile_type: RuntimeDefault }
            }
          }
        }
        pod_options {}
        options {
          name: "c1"
          restart { name: "no" }
          auto_remove: true
        }
      )pb",
      &expected));
  expected.clear_pod_options();
  auto got = spec->request;
  if (got.pod_options().ByteSizeLong() == 0) got.clear_pod_options();
  EXPECT_EQ(got.DebugString(), expected.DebugString());
}

TEST(DockerCreateTest, TranslatesWhatPeopleAskFor) {
  auto spec = Docker(R"({"Image":"x","Env":["A=1","B=x=y","C"],"Entrypoint":[""],"Cmd":["sh"],"User":"1000:2000",
    "Labels":{"k":"v"},"Tty":true,"OpenStdin":true,"StdinOnce":true,"StopSignal":"SIGINT","StopTimeout":3,
    "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000,"Retries":2},
    "HostConfig":{"Memory":67108864,"MemorySwap":-1,"NanoCpus":1500000000,"PidsLimit":20,"CapAdd":["NET_ADMIN"],
      "CapDrop":["ALL"],"SecurityOpt":["no-new-privileges","seccomp=unconfined","label=type:x_t"],"ReadonlyRootfs":true,
      "Binds":["/host:/in:ro,z","named:/data","/s:/t:rshared"],"Sysctls":{"net.core.somaxconn":"9"},
      "PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}],"53/udp":[{"HostPort":""}]},
      "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":4},"Dns":["1.1.1.1"],"ExtraHosts":["a:1.2.3.4"],
      "Ulimits":[{"Name":"nofile","Soft":10,"Hard":20}],"Init":true,"PidMode":"host","ShmSize":1048576,
      "Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/n","CgroupPermissions":"r"}]}})");
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  const auto& config = spec->request.config();
  const auto& options = spec->request.options();
  EXPECT_TRUE(options.clear_entrypoint());
  EXPECT_EQ(config.command_size(), 0);
  ASSERT_EQ(config.envs_size(), 2);
  EXPECT_EQ(config.envs(1).value(), "x=y");
  const auto& security = config.linux().security_context();
  EXPECT_EQ(security.run_as_user().value(), 1000);
  EXPECT_EQ(security.run_as_group().value(), 2000);
  EXPECT_TRUE(security.no_new_privs());
  EXPECT_TRUE(security.readonly_rootfs());
  EXPECT_EQ(security.seccomp().profile_type(), cri::SecurityProfile::Unconfined);
  EXPECT_EQ(security.selinux_options().type(), "x_t");
  EXPECT_EQ(security.namespace_options().pid(), cri::NODE);
  EXPECT_THAT(security.capabilities().drop_capabilities(), ElementsAre("ALL"));
  const auto& limits = config.linux().resources();
  EXPECT_EQ(limits.memory_limit_in_bytes(), 67108864);
  EXPECT_EQ(limits.memory_swap_limit_in_bytes(), 0);
  EXPECT_EQ(limits.cpu_quota(), 150000);
  EXPECT_EQ(limits.unified().at("pids.max"), "20");
  ASSERT_EQ(config.mounts_size(), 2);
  EXPECT_TRUE(config.mounts(0).readonly());
  EXPECT_TRUE(config.mounts(0).selinux_relabel());
  EXPECT_EQ(config.mounts(1).propagation(), cri::PROPAGATION_BIDIRECTIONAL);
  ASSERT_EQ(options.volumes_size(), 1);
  EXPECT_EQ(options.volumes(0).name(), "named");
  EXPECT_EQ(config.devices(0).permissions(), "r");
  EXPECT_EQ(options.restart().maximum_retries(), 4u);
  EXPECT_EQ(options.health().interval(), 1000000000);
  EXPECT_EQ(options.ulimits(0).hard(), 20);
  EXPECT_TRUE(options.init());
  EXPECT_EQ(options.stop_timeout_seconds(), 3);
  const auto& pod = spec->request.pod_config();
  ASSERT_EQ(pod.port_mappings_size(), 2);
  EXPECT_TRUE(spec->request.pod_options().random_ports());
  EXPECT_EQ(pod.linux().sysctls().at("net.core.somaxconn"), "9");
  EXPECT_EQ(pod.annotations().at("io.kubernetes.cri-o.ShmSize"), "1048576");
  EXPECT_EQ(pod.dns_config().servers(0), "1.1.1.1");
  EXPECT_THAT(spec->request.pod_options().extra_hosts(), ElementsAre("a:1.2.3.4"));
}

TEST(DockerCreateTest, RefusesWhatWouldIsolateLess) {
  for (const char* host : {R"({"UsernsMode":"keep-id"})", R"({"CgroupnsMode":"host"})", R"({"UTSMode":"host"})",
                           R"({"IpcMode":"container:x"})", R"({"SecurityOpt":["seccomp={\"defaultAction\":1}"]})",
                           R"({"SecurityOpt":["systempaths=unconfined"]})", R"({"DeviceCgroupRules":["c 1:1 r"]})",
                           R"({"Links":["a:b"]})", R"({"GroupAdd":["audio"]})", R"({"VolumeDriver":"nfs"})",
                           R"({"DeviceRequests":[{"Driver":"nvidia","Count":-1}]})"}) {
    auto spec = Docker(std::string(R"({"Image":"x","HostConfig":)") + host + "}");
    EXPECT_EQ(spec.code(), StatusCode::kUnimplemented) << host << " " << spec.status().ToString();
  }
  for (const char* body : {R"({"HostConfig":{"Binds":["a:b:c:d"]}})", R"({"HostConfig":{"Binds":["/a:relative"]}})",
                           R"({"HostConfig":{"PortBindings":{"x/tcp":[]}}})",
                           R"({"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"99999"}]}}})",
                           R"({"HostConfig":{"SecurityOpt":["nonsense"]}})", R"({"Env":["=x"]})",
                           R"({"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}})",
                           R"({"HostConfig":{"Memory":"x"}})"}) {
    EXPECT_EQ(Docker(body).code(), StatusCode::kInvalidArgument) << body;
  }
}

TEST(DockerCreateTest, NetworksByMode) {
  auto host = Docker(R"({"HostConfig":{"NetworkMode":"host","UTSMode":"host"}})");
  ASSERT_TRUE(host.ok());
  EXPECT_EQ(host->request.pod_config().linux().security_context().namespace_options().network(), cri::NODE);
  EXPECT_TRUE(Docker(R"({"HostConfig":{"NetworkMode":"none"}})")->request.pod_options().no_network());
  EXPECT_EQ(Docker(R"({"HostConfig":{"NetworkMode":"container:abc"}})")->share_with, "abc");
  auto named = Docker(R"({"HostConfig":{"NetworkMode":"net1"},"NetworkingConfig":{"EndpointsConfig":{
      "net1":{"Aliases":["web"],"IPAMConfig":{"IPv4Address":"10.1.0.5"}},"net2":{}}}})");
  ASSERT_TRUE(named.ok());
  ASSERT_EQ(named->request.pod_options().networks_size(), 2);
  EXPECT_EQ(named->request.pod_options().networks(0).network(), "net1");
  EXPECT_THAT(named->request.pod_options().networks(0).aliases(), ElementsAre("web"));
  EXPECT_EQ(named->request.pod_options().networks(0).ipv4_address(), "10.1.0.5");
  EXPECT_EQ(named->request.pod_options().networks(1).network(), "net2");
}

TEST(DockerCreateTest, NamesAreCheckedOrChosen) {
  EXPECT_EQ(Docker("{}", "bad name!").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Docker("{}", "-x").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Docker("{}", "/c2")->request.options().name(), "c2");
  EXPECT_FALSE(Docker("{}", "")->request.options().name().empty());
}

TEST(DockerCreateTest, TellsWhatItLeavesOut) {
  auto spec = Docker(R"({"HostConfig":{"BlkioWeight":300,"LogConfig":{"Type":"syslog"}}})");
  ASSERT_TRUE(spec.ok());
  EXPECT_THAT(spec->warnings, ElementsAre(HasSubstr("BlkioWeight"), HasSubstr("syslog")));
}

TEST(DockerCreateTest, MakesVolumesThatAreMoreThanNames) {
  auto spec = Docker(R"({"HostConfig":{"Tmpfs":{"/run":"size=1m"},"Mounts":[{"Type":"tmpfs","Target":"/t",
      "TmpfsOptions":{"SizeBytes":4096,"Mode":448}},{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{
      "Labels":{"a":"b"}}}]},"Volumes":{"/anon":{},"/v":{}}})");
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  ASSERT_EQ(spec->new_volumes.size(), 3u);
  EXPECT_EQ(spec->new_volumes[0].request.options().at("o"), "size=4096,mode=700");
  EXPECT_EQ(spec->new_volumes[1].request.labels().at("a"), "b");
  EXPECT_EQ(spec->new_volumes[2].mount.container_path(), "/run");
}

// What podman 4.3 --remote sends for `podman run --rm -p 8080:80 --pod pp busybox echo hello`.
TEST(LibpodCreateTest, TranslatesASpecGenerator) {
  auto spec = Libpod(R"({"name":"p1","command":["echo","hello"],"httpproxy":true,"annotations":{"io.x":"false"},
    "stop_timeout":10,"log_configuration":{},"raw_image_name":"localhost/busybox","systemd":"true","sdnotifyMode":"container",
    "pidns":{},"utsns":{},"remove":true,"init_container_type":"","manage_password":true,"image":"localhost/busybox",
    "image_volume_mode":"anonymous","ipcns":{},"volatile":true,"seccomp_policy":"default","userns":{},
    "idmappings":{"HostUIDMapping":true},"umask":"0022","cgroupns":{},"cgroups_mode":"enabled","netns":{},"Networks":null,
    "use_image_hosts":false,"env":{"A":"1"},"portmappings":[{"host_ip":"","container_port":80,"host_port":8080,"range":2,
    "protocol":""}],"volumes":[{"Name":"v","Dest":"/v","Options":["ro"]},{"Name":"abc","Dest":"/a","IsAnonymous":true}],
    "mounts":[{"destination":"/in","type":"bind","source":"/out","options":["rbind","ro"]}],
    "r_limits":[{"type":"RLIMIT_NOFILE","hard":4,"soft":3}],"resource_limits":{"memory":{"limit":1048576}},
    "restart_policy":"on-failure","restart_tries":2})");
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  EXPECT_EQ(spec->image, "localhost/busybox");
  const auto& options = spec->request.options();
  EXPECT_EQ(options.name(), "p1");
  EXPECT_TRUE(options.auto_remove());
  EXPECT_EQ(options.umask(), "0022");
  EXPECT_EQ(options.stop_timeout_seconds(), 10);
  EXPECT_EQ(options.ulimits(0).name(), "nofile");
  EXPECT_EQ(options.restart().maximum_retries(), 2u);
  ASSERT_EQ(options.volumes_size(), 2);
  EXPECT_TRUE(options.volumes(0).readonly());
  EXPECT_EQ(options.volumes(1).name(), "");
  const auto& pod = spec->request.pod_config();
  ASSERT_EQ(pod.port_mappings_size(), 2);
  EXPECT_EQ(pod.port_mappings(1).host_port(), 8081);
  EXPECT_EQ(pod.port_mappings(1).container_port(), 81);
  EXPECT_EQ(spec->request.config().linux().resources().memory_limit_in_bytes(), 1048576);
  EXPECT_TRUE(spec->request.config().mounts(0).readonly());
}

TEST(LibpodCreateTest, MatchesKeysAsGoDoes) {
  auto spec = Libpod(R"({"Image":"x","Entrypoint":["/top"],"Pod":"p"})");
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->image, "x");
  EXPECT_EQ(spec->pod, "p");
  EXPECT_THAT(spec->request.config().command(), ElementsAre("/top"));
}

TEST(LibpodCreateTest, PortsBelongToThePod) {
  EXPECT_EQ(Libpod(R"({"image":"x","pod":"p","portmappings":[{"container_port":80}]})").code(),
            StatusCode::kInvalidArgument);
}

TEST(LibpodCreateTest, RefusesWhatItCannotKeep) {
  for (const char* body :
       {R"({"userns":{"nsmode":"keep-id"}})", R"({"secrets":[{"Source":"s"}]})", R"({"rootfs":"/x"})",
        R"({"unmask":["ALL"]})", R"({"netns":{"nsmode":"slirp4netns"}})", R"({"overlay_volumes":[{}]})"}) {
    EXPECT_EQ(Libpod(body).code(), StatusCode::kUnimplemented) << body;
  }
}

}  // namespace
}  // namespace davit::api
