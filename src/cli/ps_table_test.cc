#include "cli/ps_table.h"

#include <gtest/gtest.h>

#include "cli/filters.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;
constexpr int64_t kMinute = 60'000'000'000;

control::Container Box(control::StandaloneState state) {
  control::Container out;
  out.set_id("c1" + std::string(62, '0'));
  out.set_name("web");
  out.set_pod_id("p1");
  out.set_standalone(true);
  out.set_state(state);
  out.set_image("docker.io/library/redis:7");
  out.set_image_id("sha256:abcdef");
  out.set_created_at(kMinute);
  out.set_started_at(kMinute);
  out.set_finished_at(2 * kMinute);
  return out;
}

TEST(PsTableTest, SaysHowAContainerIs) {
  control::Container one = Box(control::STATE_RUNNING);
  EXPECT_EQ(StatusCell(one, false, 4 * kMinute), "Up 3 minutes");
  one.mutable_health()->set_status("healthy");
  EXPECT_EQ(StatusCell(one, false, 4 * kMinute), "Up 3 minutes (healthy)");
  one.set_state(control::STATE_PAUSED);
  EXPECT_EQ(StatusCell(one, false, 4 * kMinute), "Up 3 minutes (Paused)");
  one.set_state(control::STATE_EXITED);
  one.set_exit_code(137);
  EXPECT_EQ(StatusCell(one, false, 4 * kMinute), "Exited (137) 2 minutes ago");
  EXPECT_EQ(StatusCell(one, true, 4 * kMinute), "Exited (137) 1970-01-01T00:02:00.000000000Z");
  one.set_state(control::STATE_CREATED);
  EXPECT_EQ(StatusCell(one, false, 4 * kMinute), "Created");
}

TEST(PsTableTest, ShortensCommandsBetweenCharacters) {
  control::Container one;
  one.add_command_line("sh");
  one.add_command_line("-c");
  one.add_command_line("sleep 1000 äöüäöüäöü");
  EXPECT_EQ(CommandCell(one, true), "\"sh -c sleep 1000 äöüäöüäöü\"");
  EXPECT_EQ(CommandCell(one, false), "\"sh -c sleep 1000 ä…\"");
}

TEST(PsTableTest, ShowsPortsOfRunningPods) {
  control::Pod pod;
  auto* port = pod.add_ports();
  port->set_host_port(8080);
  port->set_container_port(80);
  EXPECT_EQ(PortsCell(pod), "");
  pod.set_ready(true);
  EXPECT_EQ(PortsCell(pod), "0.0.0.0:8080->80/tcp");
  port->set_host_ip("::1");
  EXPECT_EQ(PortsCell(pod), "[::1]:8080->80/tcp");
}

TEST(PsTableTest, MarksTheKubelets) {
  control::Pod pod;
  pod.set_name("web-7f");
  pod.mutable_config()->mutable_metadata()->set_namespace_("default");
  EXPECT_EQ(PodCell(pod), "kubelet: default/web-7f");
  pod.set_standalone(true);
  EXPECT_EQ(PodCell(pod), "web-7f");
  pod.set_implicit(true);
  EXPECT_EQ(PodCell(pod), "");
}

bool Passes(const std::vector<std::string>& texts, const control::Container& one) {
  control::ListContainersAllResponse list;
  *list.add_containers() = one;
  auto* pod = list.add_pods();
  pod->set_id("p1");
  pod->set_name("team");
  auto filters = ParseFilters(texts, PsFilterKeys());
  EXPECT_TRUE(filters.ok()) << filters.status().ToString();
  auto filter = PsFilter::Make(*filters, list);
  EXPECT_TRUE(filter.ok()) << filter.status().ToString();
  return filter.ok() && filter->Matches(one);
}

TEST(PsTableTest, Filters) {
  control::Container one = Box(control::STATE_EXITED);
  (*one.mutable_config()->mutable_labels())["app"] = "web";
  for (const char* yes :
       {"id=c1", "name=we", "label=app", "label=app=web", "status=exited", "ancestor=redis", "ancestor=redis:7",
        "ancestor=abcdef", "pod=team", "exited=0", "health=none", "standalone=true"}) {
    EXPECT_TRUE(Passes({yes}, one)) << yes;
  }
  for (const char* no : {"id=c2", "name=db", "label=app=db", "status=running", "ancestor=red", "pod=other", "exited=1",
                         "health=healthy", "standalone=false", "volume=data", "network=back"}) {
    EXPECT_FALSE(Passes({no}, one)) << no;
  }
  EXPECT_TRUE(Passes({"status=running", "status=exited"}, one));
  EXPECT_FALSE(Passes({"status=exited", "name=db"}, one));
}

TEST(PsTableTest, RefusesValuesThatCannotBe) {
  control::ListContainersAllResponse list;
  for (const char* bad : {"status=dozing", "exited=x", "standalone=maybe", "until=never", "before=nobody"}) {
    auto filters = ParseFilters({bad}, PsFilterKeys());
    ASSERT_TRUE(filters.ok());
    EXPECT_FALSE(PsFilter::Make(*filters, list).ok()) << bad;
  }
}

}  // namespace
}  // namespace davit::cli
