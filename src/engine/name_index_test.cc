#include "engine/name_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::UnorderedElementsAre;

network::Address A(std::string_view text) { return *network::Address::Parse(text); }

class NameIndexTest : public ::testing::Test {
 protected:
  PodId AddPod(const std::string& name, std::vector<pod::AttachedEndpoint> endpoints,
               pod::Phase phase = pod::Phase::kReady) {
    auto record = std::make_shared<pod::PodRecord>();
    record->id = PodId::Mint();
    record->phase = phase;
    record->spec.name = name + "-pod";
    record->spec.standalone = true;
    record->hostname = "host-" + name;
    record->endpoints = std::move(endpoints);
    snapshot_.Put(record);
    auto container = std::make_shared<container::ContainerRecord>();
    container->id = ContainerId::Mint();
    container->pod = record->id;
    container->spec.name = name;
    snapshot_.Put(container);
    last_container_ = container->id;
    return record->id;
  }
  static pod::AttachedEndpoint On(const std::string& network, const std::string& cidr,
                                  std::vector<std::string> aliases = {}, bool dns = true) {
    return {network, "eth0", {cidr}, "", "", std::move(aliases), dns};
  }
  [[nodiscard]] NameIndex Index() const { return NameIndex(SnapshotPtr(std::make_shared<Snapshot>(snapshot_))); }

  Snapshot snapshot_;
  ContainerId last_container_;
};

TEST_F(NameIndexTest, EveryNameOfANeighbour) {
  PodId web = AddPod("web", {On("front", "10.89.0.2/24")});
  AddPod("Db", {On("front", "10.89.0.3/24", {"Database"})});
  NameIndex index = Index();
  for (const std::string& name :
       {std::string("db"), std::string("db-pod"), std::string("host-db"), std::string("database"),
        std::string("db.front"), last_container_.str().substr(0, 12)}) {
    EXPECT_THAT(index.Find(web, name), Optional(ElementsAre(A("10.89.0.3")))) << name;
  }
  EXPECT_THAT(index.Find(web, "web"), Optional(ElementsAre(A("10.89.0.2")))) << "itself";
  EXPECT_FALSE(index.Find(web, "nobody"));
  EXPECT_FALSE(index.Find(web, "db.back"));
  EXPECT_FALSE(index.Find(web, ""));
  EXPECT_FALSE(index.Find(PodId::Mint(), "db"));
}

TEST_F(NameIndexTest, OnlyThoseOfACommonNetworkThatAreUp) {
  PodId web = AddPod("web", {On("front", "10.89.0.2/24"), On("back", "10.89.1.2/24")});
  PodId db = AddPod("db", {On("back", "10.89.1.3/24")});
  PodId proxy = AddPod("proxy", {On("front", "10.89.0.4/24")});
  AddPod("gone", {On("front", "10.89.0.5/24")}, pod::Phase::kNotReady);
  NameIndex index = Index();
  EXPECT_TRUE(index.Find(web, "db"));
  EXPECT_TRUE(index.Find(web, "proxy"));
  EXPECT_FALSE(index.Find(proxy, "db"));
  EXPECT_FALSE(index.Find(web, "gone"));
  EXPECT_THAT(index.Find(db, "web"), Optional(ElementsAre(A("10.89.1.2")))) << "not the address of the other network";
}

TEST_F(NameIndexTest, SeveralGoByOneAlias) {
  PodId web = AddPod("web", {On("front", "10.89.0.2/24")});
  AddPod("one", {On("front", "10.89.0.3/24", {"worker"})});
  AddPod("two", {On("front", "10.89.0.4/24", {"worker"})});
  EXPECT_THAT(Index().Find(web, "worker"), Optional(UnorderedElementsAre(A("10.89.0.3"), A("10.89.0.4"))));
}

TEST_F(NameIndexTest, ANetworkWithoutNamesHasNone) {
  PodId web = AddPod("web", {On("bridge", "10.88.0.2/16", {}, false)});
  AddPod("db", {On("bridge", "10.88.0.3/16", {}, false)});
  EXPECT_FALSE(Index().Find(web, "db"));
  EXPECT_FALSE(Index().NamesOf(web, A("10.88.0.3")));
}

TEST_F(NameIndexTest, NamesOfAddresses) {
  PodId web = AddPod("web", {On("front", "10.89.0.2/24")});
  AddPod("db", {On("front", "10.89.0.3/24")});
  NameIndex index = Index();
  EXPECT_THAT(index.NamesOf(web, A("10.89.0.3")), Optional(ElementsAre("db.front")));
  EXPECT_THAT(index.NamesOf(web, A("10.89.0.77")), Optional(IsEmpty())) << "of the network, and nobody's";
  EXPECT_FALSE(index.NamesOf(web, A("192.0.2.1")));
}

}  // namespace
}  // namespace davit::engine
