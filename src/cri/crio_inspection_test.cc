#include "cri/crio_inspection.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace davit::cri {
namespace {

class CrioInspectionTest : public ::testing::Test {
 protected:
  CrioInspectionTest() {
    pod_.id = *PodId::Parse(std::string(64, 'a'));
    pod_.phase = pod::Phase::kReady;
    pod_.spec.name = "web";
    pod_.spec.namespace_name = "default";
    pod_.spec.uid = "u-1";
    pod_.spec.labels = {{"app", "web"}};
    pod_.ips = {"10.0.0.5", "fd00::5"};
    container_.id = *ContainerId::Parse(std::string(64, 'b'));
    container_.pod = pod_.id;
    container_.phase = container::Phase::kRunning;
    container_.spec.name = "main";
    container_.spec.attempt = 2;
    container_.spec.labels = {{"io.kubernetes.container.name", "main"}};
    container_.spec.annotations = {{"io.kubernetes.container.restartCount", "2"}};
    container_.spec.image.image = "sha256:1";
    container_.spec.image.user_specified_image = "docker.io/library/nginx:1";
    container_.pid = 4711;
    container_.created_at = 1234567890123456789;
    container_.log_path = "/var/log/pods/x/main/2.log";
  }
  boost::json::object Ask(const std::string& path) {
    engine::Snapshot snapshot;
    snapshot.Put(std::make_shared<const pod::PodRecord>(pod_));
    snapshot.Put(std::make_shared<const container::ContainerRecord>(container_));
    std::optional<std::string> body = CrioInspection(path, snapshot, "/var/lib/davit", true);
    return body ? boost::json::parse(*body).as_object() : boost::json::object();
  }

  pod::PodRecord pod_;
  container::ContainerRecord container_;
};

TEST_F(CrioInspectionTest, InfoNamesTheDrivers) {
  boost::json::object info = Ask("/info");
  EXPECT_EQ(info.at("storage_root"), "/var/lib/davit");
  EXPECT_EQ(info.at("cgroup_driver"), "systemd");
  EXPECT_NE(info.at("storage_driver"), "overlay") << "cAdvisor would look for directories that are not there";
}

TEST_F(CrioInspectionTest, AContainer) {
  boost::json::object found = Ask("/containers/" + std::string(64, 'b'));
  EXPECT_EQ(found.at("name"), "k8s_main_web_default_u-1_2");
  EXPECT_EQ(found.at("pid"), 4711);
  EXPECT_EQ(found.at("image"), "docker.io/library/nginx:1");
  EXPECT_EQ(found.at("created_time"), 1234567890123456789);
  EXPECT_EQ(found.at("labels").at("io.kubernetes.container.name"), "main");
  EXPECT_EQ(found.at("labels").at("io.kubernetes.pod.namespace"), "default") << "also where the client set no labels";
  EXPECT_EQ(found.at("annotations").at("io.kubernetes.container.restartCount"), "2");
  EXPECT_EQ(found.at("log_path"), "/var/log/pods/x/main/2.log");
  EXPECT_EQ(found.at("sandbox").as_string(), std::string(64, 'a'));
  EXPECT_EQ(found.at("ip_addresses").as_array().size(), 2u);
  container_.phase = container::Phase::kExited;
  EXPECT_EQ(Ask("/containers/" + std::string(64, 'b')).at("pid"), 0);
}

TEST_F(CrioInspectionTest, APodIsTheContainerThatHasItsNetwork) {
  const std::string path = "/containers/" + std::string(64, 'a');
  EXPECT_EQ(Ask(path).at("labels").at("io.kubernetes.container.name"), "POD");
  EXPECT_EQ(Ask(path).at("labels").at("app"), "web");
  EXPECT_EQ(Ask(path).at("name"), "k8s_POD_web_default_u-1_0");
  EXPECT_EQ(Ask(path).at("pid"), 4711) << "a process of any container is in the pod's network";
  container_.phase = container::Phase::kExited;
  EXPECT_EQ(Ask(path).at("pid"), 0);
  pod_.init_pid = 42;
  EXPECT_EQ(Ask(path).at("pid"), 42);
}

// cAdvisor asks when the cgroup appears, and long not again.
TEST_F(CrioInspectionTest, WhatIsOnlyBeingCreatedIsThere) {
  container_.phase = container::Phase::kCreating;
  pod_.phase = pod::Phase::kCreating;
  EXPECT_EQ(Ask("/containers/" + std::string(64, 'b')).at("name"), "k8s_main_web_default_u-1_2");
  EXPECT_EQ(Ask("/containers/" + std::string(64, 'b')).at("pid"), 0);
  EXPECT_EQ(Ask("/containers/" + std::string(64, 'a')).at("name"), "k8s_POD_web_default_u-1_0");
}

TEST_F(CrioInspectionTest, NothingElseIsThere) {
  for (const std::string path : {"/", "/containers/", "/containers/b", "/containers/../info", "/config", "/info/"}) {
    EXPECT_TRUE(Ask(path).empty()) << path;
  }
  EXPECT_TRUE(Ask("/containers/" + std::string(64, 'c')).empty());
}

}  // namespace
}  // namespace davit::cri
