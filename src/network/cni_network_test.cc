#include "network/cni_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>

#include "network/fake_network.h"
#include "network/network_contract.h"
#include "network/plugin_fixture.h"
#include "sched/thread_pool.h"

namespace davit::network {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kResult[] = R"({"cniVersion":"1.0.0","ips":[{"address":"10.7.0.2/24"},{"address":"fd00::2/64"}]})";

class FakeHarness {
 public:
  static const char* Missing() { return nullptr; }
  Network& network() { return network_; }
  NetworkRequest NewPod() {
    NetworkRequest request;
    request.pod = PodId::Mint();
    return request;
  }
  bool Attached(const NetworkRequest& request) { return network_.attached().contains(request.pod); }

 private:
  FakeNetwork network_;
};

// The real class over a plugin that keeps one file for each pod.
class ScriptHarness {
 public:
  static const char* Missing() { return nullptr; }
  ScriptHarness() {
    plugins_.Add("keeper", R"(
if [ $CNI_COMMAND = DEL ]; then rm -f attached.$CNI_CONTAINERID; exit 0; fi
n=$(cat count 2>/dev/null || echo 1); n=$((n + 1)); echo $n > count
touch attached.$CNI_CONTAINERID
echo "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.7.0.$n/24\"}]}")");
    conf_.Write("10-keeper.conflist", R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"keeper"}]})");
    CniOptions options;
    options.conf_dir = conf_.path();
    options.bin_dirs = {plugins_.dir().path()};
    options.plugin_owner = ::geteuid();
    auto network = CniNetwork::Create(options, nullptr);
    EXPECT_TRUE(network.ok());
    network_ = std::move(*network);
  }
  Network& network() { return *network_; }
  NetworkRequest NewPod() {
    NetworkRequest request;
    request.pod = PodId::Mint();
    request.netns_path = "/proc/self/ns/net";
    return request;
  }
  bool Attached(const NetworkRequest& request) {
    return ::access(plugins_.dir().Join("attached." + request.pod.str()).c_str(), F_OK) == 0;
  }

 private:
  ScriptPlugins plugins_;
  TempDir conf_;
  std::unique_ptr<CniNetwork> network_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Fake, NetworkContract, FakeHarness);
INSTANTIATE_TYPED_TEST_SUITE_P(Script, NetworkContract, ScriptHarness);

TEST(FakeNetworkTest, CanBeToldToFail) {
  FakeNetwork network;
  NetworkRequest request;
  request.pod = PodId::Mint();
  auto planned = network.Plan(request);
  ASSERT_TRUE(planned.ok());
  network.fail_attach = Unavailable("later");
  EXPECT_EQ(network.Attach(request, *planned, TestDeadline()).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(network.attached().empty());
  EXPECT_EQ(network.attach_calls(), 1);
  network.fail_detach = Internal("stuck");
  EXPECT_EQ(network.Detach(request, *planned, TestDeadline()).code(), StatusCode::kInternal);
  network.readiness = Readiness{false, "NetworkPluginNotReady", "no network"};
  EXPECT_EQ(network.Plan(request).code(), StatusCode::kFailedPrecondition);
}

class CniNetworkTest : public ::testing::Test {
 protected:
  CniOptions Options() {
    CniOptions options;
    options.conf_dir = conf_.Join("net.d");
    options.bin_dirs = {plugins_.dir().path()};
    options.plugin_owner = ::geteuid();
    return options;
  }
  void MakeDirectory() { ASSERT_TRUE(sys::MakeDirectories(conf_.Join("net.d"), 0755).ok()); }
  std::unique_ptr<CniNetwork> Network(sched::EventLoop* loop = nullptr) {
    auto network = CniNetwork::Create(Options(), loop);
    EXPECT_TRUE(network.ok()) << network.status().ToString();
    return std::move(*network);
  }
  static NetworkRequest Request() {
    NetworkRequest request;
    request.pod = PodId::Mint();
    request.name = "web";
    request.namespace_ = "default";
    request.netns_path = "/proc/self/ns/net";
    return request;
  }

  ScriptPlugins plugins_;
  TempDir conf_;
};

TEST_F(CniNetworkTest, WithoutTheDirectoryItSaysWhatToDo) {
  auto network = Network();
  Readiness readiness = network->Ready();
  EXPECT_FALSE(readiness.ready);
  EXPECT_EQ(readiness.reason, "NetworkPluginNotReady");
  EXPECT_THAT(readiness.message, HasSubstr(conf_.Join("net.d")));
  EXPECT_THAT(readiness.message, HasSubstr("install a network add-on"));
  EXPECT_EQ(network->Plan(Request()).code(), StatusCode::kFailedPrecondition);
}

TEST_F(CniNetworkTest, ALoopbackFileAloneIsNoNetwork) {
  MakeDirectory();
  conf_.Write("net.d/99-loopback.conf", R"({"cniVersion":"0.2.0","type":"loopback"})");
  auto network = Network();
  EXPECT_FALSE(network->Ready().ready);
  EXPECT_THAT(network->Ready().message, HasSubstr("99-loopback.conf"));
  EXPECT_THAT(network->StatusJson(), HasSubstr("built in"));
}

TEST_F(CniNetworkTest, PortmapRunsOnlyForHostPorts) {
  MakeDirectory();
  conf_.Write("net.d/10.conflist", R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"main"},)"
                                   R"({"type":"portmap","capabilities":{"portMappings":true}}]})");
  plugins_.AddWithResult("main", kResult);
  plugins_.AddWithResult("portmap", kResult);
  auto network = Network();
  NetworkRequest request = Request();
  request.ports = {{Protocol::kTcp, 80, 0, ""}};
  auto attached = network->Attach(request, *network->Plan(request), TestDeadline());
  ASSERT_TRUE(attached.ok()) << attached.status().ToString();
  EXPECT_THAT(attached->ips, ElementsAre("10.7.0.2", "fd00::2"));
  EXPECT_THAT(plugins_.Calls(), ElementsAre("ADD main"));
  EXPECT_TRUE(network->Detach(request, *attached, TestDeadline()).ok());
  EXPECT_THAT(plugins_.Calls(), ElementsAre("ADD main", "DEL main"));

  request.ports = {{Protocol::kTcp, 80, 8080, ""}};
  attached = network->Attach(request, *network->Plan(request), TestDeadline());
  ASSERT_TRUE(attached.ok()) << attached.status().ToString();
  ASSERT_EQ(attached->ports.size(), 1u);
  EXPECT_THAT(plugins_.Input("portmap", "ADD"), HasSubstr(R"("portMappings":[{"hostPort":8080)"));
  EXPECT_THAT(plugins_.Input("main", "ADD"), Not(HasSubstr("portMappings")));
  // From the record alone: the request of a restarted daemon has no ports.
  request.ports.clear();
  EXPECT_TRUE(network->Detach(request, *attached, TestDeadline()).ok());
  EXPECT_THAT(plugins_.Input("portmap", "DEL"), HasSubstr(R"("portMappings":[{"hostPort":8080)"));
}

TEST_F(CniNetworkTest, PortmapIsAddedWhereTheListHasNone) {
  MakeDirectory();
  conf_.Write("net.d/10.conf", R"({"cniVersion":"0.4.0","name":"n","type":"main"})");
  plugins_.AddWithResult("main", R"({"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.7.0.2/24"}]})");
  auto network = Network();
  NetworkRequest request = Request();
  request.ports = {{Protocol::kTcp, 80, 8080, ""}};
  auto planned = network->Plan(request);
  EXPECT_EQ(planned.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(planned.status().message(), HasSubstr("portMappings"));

  plugins_.AddWithResult("portmap", R"({"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.7.0.2/24"}]})");
  planned = network->Plan(request);
  ASSERT_TRUE(planned.ok()) << planned.status().ToString();
  ASSERT_TRUE(network->Attach(request, *planned, TestDeadline()).ok());
  EXPECT_THAT(plugins_.Calls(), ElementsAre("ADD main", "ADD portmap"));
  EXPECT_THAT(plugins_.Input("portmap", "ADD"), HasSubstr(R"("cniVersion":"0.4.0")"));
}

TEST_F(CniNetworkTest, DetachUsesTheRecordedConfiguration) {
  MakeDirectory();
  conf_.Write("net.d/10.conf", R"({"cniVersion":"1.0.0","name":"old","type":"main"})");
  plugins_.AddWithResult("main", kResult);
  auto network = Network();
  NetworkRequest request = Request();
  auto attached = network->Attach(request, *network->Plan(request), TestDeadline());
  ASSERT_TRUE(attached.ok());
  ASSERT_EQ(::unlink(conf_.Join("net.d/10.conf").c_str()), 0);
  network->Reload();
  EXPECT_FALSE(network->Ready().ready);
  EXPECT_TRUE(network->Detach(request, *attached, TestDeadline()).ok());
  EXPECT_THAT(plugins_.Input("main", "DEL"), HasSubstr(R"("name":"old")"));
}

TEST_F(CniNetworkTest, DetachRunsWithoutTheNamespace) {
  MakeDirectory();
  conf_.Write("net.d/10.conf", R"({"cniVersion":"1.0.0","name":"n","type":"main"})");
  plugins_.AddWithResult("main", kResult);
  auto network = Network();
  NetworkRequest request = Request();
  auto attached = network->Attach(request, *network->Plan(request), TestDeadline());
  ASSERT_TRUE(attached.ok());
  request.netns_path = conf_.Join("gone");
  EXPECT_TRUE(network->Detach(request, *attached, TestDeadline()).ok());
  EXPECT_THAT(plugins_.Environment("main", "DEL"), HasSubstr("CNI_NETNS=\n"));
  EXPECT_EQ(network->Attach(request, *attached, TestDeadline()).code(), StatusCode::kFailedPrecondition);
}

TEST_F(CniNetworkTest, APodWithoutAnAddressIsAnError) {
  MakeDirectory();
  conf_.Write("net.d/10.conf", R"({"cniVersion":"1.0.0","name":"n","type":"main"})");
  plugins_.AddWithResult("main", R"({"cniVersion":"1.0.0"})");
  auto network = Network();
  NetworkRequest request = Request();
  auto attached = network->Attach(request, *network->Plan(request), TestDeadline());
  EXPECT_THAT(attached.status().message(), HasSubstr("no address"));
  EXPECT_THAT(plugins_.Calls(), ElementsAre("ADD main", "DEL main"));
}

TEST_F(CniNetworkTest, BecomesReadyWhenAFileAppears) {
  for (bool on_pool : {false, true}) {
    SCOPED_TRACE(on_pool);
    TempDir conf;
    auto loop = sched::EventLoop::Start("cni-test");
    ASSERT_TRUE(loop.ok());
    sched::ThreadPool pool("cni-test", 1);
    std::promise<void> ready;
    std::atomic<bool> told = false;
    CniOptions options = Options();
    options.conf_dir = conf.Join("cni/net.d");
    if (on_pool) options.executor = [&](std::function<void()> task) { pool.Post(std::move(task)); };
    options.on_change = [&](const Readiness& readiness) {
      if (readiness.ready && !told.exchange(true)) ready.set_value();
    };
    auto network = CniNetwork::Create(options, loop->get());
    ASSERT_TRUE(network.ok()) << network.status().ToString();
    EXPECT_FALSE((*network)->Ready().ready);
    ASSERT_TRUE(sys::MakeDirectories(options.conf_dir, 0755).ok());
    conf.Write("cni/net.d/10.conf", R"({"name":"n","type":"main"})");
    ready.get_future().wait();
    EXPECT_TRUE((*network)->Ready().ready);
  }
}

TEST_F(CniNetworkTest, EndsWhileReloadsAreQueued) {
  MakeDirectory();
  auto loop = sched::EventLoop::Start("cni-test");
  ASSERT_TRUE(loop.ok());
  std::promise<void> queued;
  std::atomic<bool> first = true;
  CniOptions options = Options();
  // An executor that drops what it gets: the destructor must not wait for ever.
  options.executor = [&](const std::function<void()>&) {
    if (first.exchange(false)) queued.set_value();
  };
  auto network = CniNetwork::Create(options, loop->get());
  ASSERT_TRUE(network.ok());
  conf_.Write("net.d/10.conf", R"({"name":"n","type":"main"})");
  queued.get_future().wait();
  network->reset();
}

}  // namespace
}  // namespace davit::network
