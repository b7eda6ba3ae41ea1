#include "store/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "store/test_dir.h"
#include "store/tree_usage.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr TrashOptions kNoRest{.batch = 10, .rest = std::chrono::milliseconds(0), .pressing_free_share = 0};
// From the call on: the program may have run for longer than that before the test.
Deadline Soon() { return Deadline::After(std::chrono::seconds(60)); }

class LayersTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(); }
  void TearDown() override { Stop(); }

  void Start() {
    ASSERT_OK_AND_ASSIGN(database_, Database::Open(dir_ / "davit.db"));
    ASSERT_OK_AND_ASSIGN(trash_, Trash::Open(dir_.path(), kNoRest));
    ASSERT_OK_AND_ASSIGN(layers_, DirectoryLayers::Open(dir_.path(), *database_, *trash_));
  }
  void Stop() {
    layers_.reset();
    trash_.reset();
    database_.reset();
  }
  void Restart() {
    Stop();
    Start();
  }

  // What the directories of the layers take.
  DiskUsage OnDisk() {
    DiskUsage sum;
    for (const Layer& layer : layers_->List()) {
      Result<TreeUsage> tree = MeasureTree(std::filesystem::path(layer.path).parent_path().string(), 1000);
      EXPECT_TRUE(tree.ok());
      sum.bytes += tree->disk.bytes;
      sum.inodes += tree->disk.inodes;
    }
    EXPECT_GE(sum.inodes, 3 * layers_->List().size());
    return sum;
  }

  void Add(const oci::Digest& diff_id, const std::string& text, LayerInfo info = {.size = 10, .entries = 2}) {
    ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers_->Begin(diff_id));
    WriteText(staging.fs() + "/file", text);
    ASSERT_OK(layers_->Commit(std::move(staging), info));
  }

  [[nodiscard]] std::vector<std::string> Names(const std::string& below) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / below))
      names.push_back(entry.path().filename());
    return names;
  }

  TestDir dir_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<DirectoryLayers> layers_;
};

TEST_F(LayersTest, CommittedLayerIsThereAfterARestart) {
  Add(TestDigest(1), "one", {.size = 100, .entries = 3});
  Add(TestDigest(2), "two", {.size = 200, .entries = 5});
  Restart();
  ASSERT_OK_AND_ASSIGN(LayerRecovery report, layers_->Recover());
  EXPECT_THAT(report.lost, IsEmpty());
  EXPECT_EQ(report.staging_discarded + report.unrecorded_discarded, 0u);
  EXPECT_TRUE(layers_->Has(TestDigest(1)));
  ASSERT_OK_AND_ASSIGN(std::string path, layers_->Path(TestDigest(1)));
  EXPECT_EQ(path, dir_ / ("layers/" + TestDigest(1).hex() + "/fs"));
  EXPECT_EQ(ReadText(path + "/file"), "one");
  EXPECT_EQ(ModeOf(path), 0755u);
  EXPECT_EQ(ModeOf(dir_ / "layers"), 0700u);
  EXPECT_EQ(layers_->Usage(), OnDisk()) << "measured at the commit, and recorded";
  EXPECT_EQ(layers_->List().size(), 2u);
  ASSERT_OK_AND_ASSIGN(Layer layer, layers_->Find(TestDigest(2)));
  EXPECT_EQ(layer.info, (LayerInfo{.size = 200, .entries = 5}));
}

TEST_F(LayersTest, StagingHasItsModeWhateverTheUmask) {
  mode_t old = ::umask(0077);
  Result<LayerStaging> staging = layers_->Begin(TestDigest(1));
  ::umask(old);
  ASSERT_TRUE(staging.ok());
  EXPECT_EQ(ModeOf(staging->fs()), 0755u);
  EXPECT_EQ(ModeOf(staging->dir()), 0700u);
}

TEST_F(LayersTest, StagedLayerIsNotALayer) {
  ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers_->Begin(TestDigest(1)));
  EXPECT_FALSE(layers_->Has(TestDigest(1)));
  EXPECT_EQ(layers_->Path(TestDigest(1)).code(), StatusCode::kNotFound);
  EXPECT_EQ(layers_->Usage(), DiskUsage{});
}

TEST_F(LayersTest, AbandonedAndForgottenStagingGoesToTheTrash) {
  {
    ASSERT_OK_AND_ASSIGN(LayerStaging forgotten, layers_->Begin(TestDigest(1)));
    ASSERT_OK_AND_ASSIGN(LayerStaging abandoned, layers_->Begin(TestDigest(2)));
    ASSERT_OK(layers_->Abandon(std::move(abandoned)));
  }
  EXPECT_THAT(Names("layers"), IsEmpty());
  EXPECT_TRUE(trash_->WaitIdle(Soon()));
  EXPECT_THAT(Names("trash"), IsEmpty());
}

TEST_F(LayersTest, FirstOfTwoCommitsWins) {
  ASSERT_OK_AND_ASSIGN(LayerStaging first, layers_->Begin(TestDigest(1)));
  ASSERT_OK_AND_ASSIGN(LayerStaging second, layers_->Begin(TestDigest(1)));
  WriteText(first.fs() + "/file", "first");
  WriteText(second.fs() + "/file", "second");
  ASSERT_OK(layers_->Commit(std::move(first), {.size = 1, .entries = 1}));
  ASSERT_OK(layers_->Commit(std::move(second), {.size = 1, .entries = 1}));
  EXPECT_EQ(ReadText(layers_->Path(TestDigest(1)).value_or("") + "/file"), "first");
  EXPECT_EQ(layers_->Usage(), OnDisk());
  EXPECT_THAT(Names("layers"), ElementsAre(TestDigest(1).hex()));
}

TEST_F(LayersTest, CommitReplacesADirectoryWithoutARecord) {
  ASSERT_OK(sys::MakeDirectories(dir_ / ("layers/" + TestDigest(1).hex() + "/fs/old"), 0755));
  Add(TestDigest(1), "new");
  EXPECT_EQ(ReadText(layers_->Path(TestDigest(1)).value_or("") + "/file"), "new");
  EXPECT_FALSE(Exists(layers_->Path(TestDigest(1)).value_or("") + "/old"));
}

TEST_F(LayersTest, RemovedLayerIsGoneFromRecordsAndDisk) {
  Add(TestDigest(1), "one");
  ASSERT_OK(layers_->Remove(TestDigest(1)));
  ASSERT_OK(layers_->Remove(TestDigest(1)));
  EXPECT_FALSE(layers_->Has(TestDigest(1)));
  EXPECT_EQ(layers_->Usage(), DiskUsage{});
  EXPECT_THAT(Names("layers"), IsEmpty());
  EXPECT_TRUE(trash_->WaitIdle(Soon()));
  EXPECT_THAT(Names("trash"), IsEmpty());
  Restart();
  ASSERT_OK_AND_ASSIGN(LayerRecovery report, layers_->Recover());
  EXPECT_THAT(report.lost, IsEmpty());
  Add(TestDigest(1), "again");
}

TEST_F(LayersTest, RecoverDiscardsStagingAndUnrecordedLayers) {
  Add(TestDigest(1), "kept");
  ASSERT_OK(sys::MakeDirectories(dir_ / "layers/.staging-0123/fs", 0755));
  ASSERT_OK(sys::MakeDirectories(dir_ / ("layers/" + TestDigest(2).hex() + "/fs"), 0755));
  ASSERT_OK(sys::MakeDirectories(dir_ / "layers/lost+found", 0755));
  Restart();
  ASSERT_OK_AND_ASSIGN(LayerRecovery report, layers_->Recover());
  EXPECT_EQ(report.staging_discarded, 1u);
  EXPECT_EQ(report.unrecorded_discarded, 1u);
  EXPECT_THAT(Names("layers"), UnorderedElementsAre(TestDigest(1).hex(), "lost+found"));
  EXPECT_TRUE(trash_->WaitIdle(Soon()));
  EXPECT_THAT(Names("trash"), IsEmpty());
}

TEST_F(LayersTest, RecoverReportsRecordsWithoutADirectory) {
  Add(TestDigest(1), "kept");
  Add(TestDigest(2), "lost");
  Add(TestDigest(3), "emptied");
  ASSERT_OK(sys::RemoveTree(dir_ / ("layers/" + TestDigest(2).hex())));
  ASSERT_OK(sys::RemoveTree(dir_ / ("layers/" + TestDigest(3).hex() + "/fs")));
  ASSERT_OK(database_->Put(Kind::kLayer, TestDigest(4).ToString(), "not json", Durability::kAtomic));
  ASSERT_OK(database_->Put(Kind::kLayer, "not a digest", "{}", Durability::kAtomic));
  Restart();
  ASSERT_OK_AND_ASSIGN(LayerRecovery report, layers_->Recover());
  EXPECT_THAT(report.lost, UnorderedElementsAre(TestDigest(2), TestDigest(3), TestDigest(4)));
  EXPECT_EQ(layers_->List().size(), 1u);
  ASSERT_OK_AND_ASSIGN(std::vector<Record> records, database_->LoadAll(Kind::kLayer));
  EXPECT_EQ(records.size(), 1u);
}

TEST_F(LayersTest, ADamagedRecordIsMadeAgainFromTheDirectory) {
  Add(TestDigest(1), "kept");
  ASSERT_OK(database_->Put(Kind::kLayer, TestDigest(1).ToString(), "{\"version\":1,\"si", Durability::kAtomic));
  for (int start = 0; start < 2; ++start) {
    Restart();
    ASSERT_OK_AND_ASSIGN(LayerRecovery report, layers_->Recover());
    EXPECT_THAT(report.lost, IsEmpty());
    ASSERT_OK_AND_ASSIGN(std::string path, layers_->Path(TestDigest(1)));
    EXPECT_EQ(ReadText(path + "/file"), "kept");
  }
}

TEST_F(LayersTest, ALayerOfALaterVersionIsLeftAlone) {
  Add(TestDigest(1), "later");
  const std::string later = "{\"version\":99,\"blob\":\"x\"}";
  ASSERT_OK(database_->Put(Kind::kLayer, TestDigest(1).ToString(), later, Durability::kAtomic));
  Restart();
  ASSERT_OK_AND_ASSIGN(LayerRecovery report, layers_->Recover());
  EXPECT_THAT(report.lost, IsEmpty());
  EXPECT_FALSE(layers_->Has(TestDigest(1)));
  ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers_->Begin(TestDigest(1)));
  EXPECT_EQ(layers_->Commit(std::move(staging), {}).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadText(dir_ / ("layers/" + TestDigest(1).hex() + "/fs/file")), "later");
  ASSERT_OK_AND_ASSIGN(std::string body, database_->Get(Kind::kLayer, TestDigest(1).ToString()));
  EXPECT_EQ(body, later);
}

TEST_F(LayersTest, PausedTrashKeepsRemovedLayers) {
  Add(TestDigest(1), "one");
  {
    PauseDeletion pause = layers_->Pause();
    ASSERT_OK(layers_->Remove(TestDigest(1)));
    EXPECT_EQ(Names("trash").size(), 1u);
  }
  EXPECT_TRUE(trash_->WaitIdle(Soon()));
  EXPECT_THAT(Names("trash"), IsEmpty());
}

TEST_F(LayersTest, EightThreadsCommitAndRemove) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 10; ++i) {
        // Half of the layers are everybody's, half are this thread's own.
        oci::Digest diff_id =
            i % 2 == 0 ? TestDigest(static_cast<uint8_t>(200 + i)) : TestDigest(static_cast<uint8_t>(1 + t * 10 + i));
        Result<LayerStaging> staging = layers_->Begin(diff_id);
        ASSERT_TRUE(staging.ok());
        WriteText(staging->fs() + "/file", "x");
        EXPECT_TRUE(layers_->Commit(std::move(*staging), {.size = 1, .entries = 1}).ok());
        EXPECT_TRUE(layers_->Has(diff_id));
        EXPECT_EQ(ReadText(layers_->Path(diff_id).value_or("") + "/file"), "x");
        if (i % 4 == 1) {
          EXPECT_TRUE(layers_->Remove(diff_id).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Each thread has five of its own and removed three (i = 1, 5, 9); five are shared.
  EXPECT_EQ(layers_->List().size(), 8u * 2 + 5);
  EXPECT_EQ(layers_->Usage(), OnDisk());
  EXPECT_EQ(Names("layers").size(), 21u);
}

// Needs root: mounts a filesystem of one MiB to fill.
TEST(RootLayersTest, FullDiskIsReportedAndNothingIsHalfCommitted) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a small tmpfs needs root";
  TestDir dir;
  ASSERT_OK(sys::Mount("tmpfs", dir.path(), "tmpfs", 0, "size=1m"));
  {
    ASSERT_OK_AND_ASSIGN(auto database, Database::Open(dir / "davit.db"));
    ASSERT_OK_AND_ASSIGN(auto trash, Trash::Open(dir.path(), kNoRest));
    ASSERT_OK_AND_ASSIGN(auto layers, DirectoryLayers::Open(dir.path(), *database, *trash));
    ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers->Begin(TestDigest(1)));
    std::ofstream file(staging.fs() + "/big", std::ios::binary);
    file << std::string(2'000'000, 'x');
    file.close();  // fails, as the unpacker would
    Status committed = layers->Commit(std::move(staging), {.size = 1, .entries = 1});
    EXPECT_EQ(committed.code(), StatusCode::kResourceExhausted) << committed.ToString();
    EXPECT_FALSE(layers->Has(TestDigest(1)));
    EXPECT_TRUE(std::filesystem::is_empty(dir / "layers"));
    EXPECT_TRUE(trash->WaitIdle(Soon()));
    Result<LayerStaging> next = layers->Begin(TestDigest(2));
    ASSERT_TRUE(next.ok());
    EXPECT_TRUE(layers->Commit(std::move(*next), {.size = 1, .entries = 1}).ok());
  }
  EXPECT_TRUE(sys::Unmount(dir.path()).ok());
}

}  // namespace
}  // namespace davit::store
