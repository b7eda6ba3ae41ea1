#include "engine/disk_report.h"

#include <gtest/gtest.h>

#include "base/ids.h"

namespace davit::engine {
namespace {

oci::Digest DigestOf(char digit) {
  return *oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, std::string(64, digit));
}

store::Layer LayerOf(char digit, uint64_t bytes) { return {DigestOf(digit), {}, "", {bytes, 1}}; }

image::ImageRecord ImageOf(char digit, const std::vector<char>& layers) {
  image::ImageRecord record;
  record.id = DigestOf(digit).ToString();
  record.repo_tags = {std::string("host/image:") + digit};
  for (char layer : layers) record.layers.push_back(DigestOf(layer).ToString());
  return record;
}

std::optional<store::DiskUsage> NoUsage(const ContainerId&) { return std::nullopt; }

struct Node {
  Snapshot view;
  std::string Add(char layer, container::Phase phase) {
    auto pod = std::make_shared<pod::PodRecord>();
    pod->id = *PodId::Parse(MintId());
    pod->spec.name = "web";
    pod->spec.namespace_name = "shop";
    auto record = std::make_shared<container::ContainerRecord>();
    record->id = *ContainerId::Parse(MintId());
    record->pod = pod->id;
    record->phase = phase;
    record->spec.name = "main";
    record->image_id = DigestOf('1').ToString();
    record->layers = {DigestOf(layer).ToString()};
    view.Put(pod);
    view.Put(record);
    return record->id.str();
  }
};

TEST(DiskReportTest, SharedLayersCountOnceAndWhatIsInUseIsNotReclaimable) {
  Node node;
  const std::string box = node.Add('a', container::Phase::kRunning);
  image::ImageRecord pinned = ImageOf('3', {'d'});
  pinned.pinned = true;
  DiskReport report = MakeDiskReport({ImageOf('1', {'a', 'b'}), ImageOf('2', {'b', 'c'}), pinned},
                                     {LayerOf('a', 100), LayerOf('b', 20), LayerOf('c', 3), LayerOf('d', 1000)},
                                     node.view, {}, NoUsage);
  EXPECT_EQ(report.accounted_bytes, 1123U);
  EXPECT_EQ(report.reclaimable_bytes, 23U) << "neither what a container needs nor what is pinned";
  ASSERT_EQ(report.images.size(), 3U);
  EXPECT_TRUE(report.images[0].pinned);
  EXPECT_EQ(report.images[1].bytes, 120U);
  EXPECT_EQ(report.images[1].shared_bytes, 20U);
  EXPECT_EQ(report.images[1].reclaimable_bytes, 0U);
  EXPECT_EQ(report.images[1].containers, 1U);
  EXPECT_EQ(report.images[2].bytes, 23U);
  EXPECT_EQ(report.images[2].reclaimable_bytes, 3U);
  EXPECT_EQ(report.images[2].containers, 0U);
  ASSERT_EQ(report.layers.size(), 4U);
  EXPECT_EQ(report.layers[1].containers, std::vector<std::string>{box});
  EXPECT_EQ(report.layers[2].images.size(), 2U) << "the shared one names both";
  EXPECT_FALSE(report.lower_bound);
}

TEST(DiskReportTest, PartsHaveTheirOwners) {
  Node node;
  const std::string running = node.Add('a', container::Phase::kRunning);
  const std::string exited = node.Add('a', container::Phase::kExited);
  const std::string stray = MintId();
  using store::Owner;
  DiskReport report = MakeDiskReport({}, {}, node.view,
                                     {{Owner::kContainer, running, {5, 1}, true},
                                      {Owner::kContainer, exited, {70, 1}, false},
                                      {Owner::kContainer, stray, {900, 1}, false},
                                      {Owner::kTrash, "", {1000, 1}, false}},
                                     [&](const ContainerId& id) -> std::optional<store::DiskUsage> {
                                       EXPECT_EQ(id.str(), running) << "only what the walk has not reached";
                                       return store::DiskUsage{6, 2};
                                     });
  ASSERT_EQ(report.containers.size(), 2U);
  EXPECT_EQ(report.containers[0].id, exited);
  EXPECT_EQ(report.containers[0].name, "main");
  EXPECT_EQ(report.containers[0].pod_name, "web");
  EXPECT_EQ(report.containers[0].pod_namespace, "shop");
  EXPECT_EQ(report.containers[1].disk.bytes, 6U);
  EXPECT_TRUE(report.containers[1].lower_bound);
  ASSERT_EQ(report.parts.size(), 2U);
  EXPECT_EQ(report.parts[0].owner, "trash");
  EXPECT_EQ(report.parts[1].owner, "unknown");
  EXPECT_EQ(report.parts[1].name, "containers/" + stray);
  EXPECT_EQ(report.accounted_bytes, 1976U);
  EXPECT_EQ(report.reclaimable_bytes, 1070U);
  EXPECT_TRUE(report.lower_bound);
}

}  // namespace
}  // namespace davit::engine
