// SIGKILL at every step of the store's work: this program runs itself as a child that dies at a named
// FaultPoint, and then looks at what is left (ARCHITECTURE.md, invariants 1 and 6).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/strings.h"
#include "store/content.h"
#include "store/database.h"
#include "store/layers.h"
#include "store/rootfs.h"
#include "store/test_dir.h"
#include "store/trash.h"
#include "sys/mounts.h"
#include "sys/process.h"

namespace davit::store {
namespace {

using ::testing::IsEmpty;

constexpr TrashOptions kNoRest{.batch = 10, .rest = std::chrono::milliseconds(0), .pressing_free_share = 0};
constexpr const char* kRootVariable = "DAVIT_STORE_CRASH_ROOT";
constexpr const char* kContainerVariable = "DAVIT_STORE_CRASH_CONTAINER";

oci::Digest Hello() {
  return oci::Digest::Parse("sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824").value();
}

// The parts of a store on one root, in the order in which davitd makes them.
struct Store {
  std::unique_ptr<Database> database;
  std::unique_ptr<Trash> trash;
  std::unique_ptr<DirectoryLayers> layers;
  std::unique_ptr<Rootfs> rootfs;
  std::unique_ptr<Content> content;
  LayerRecovery report;
};

Result<Store> OpenStore(const std::string& root) {
  Store store;
  ASSIGN_OR_RETURN(store.database, Database::Open(root + "/davit.db"));
  ASSIGN_OR_RETURN(store.trash, Trash::Open(root, kNoRest));
  ASSIGN_OR_RETURN(store.layers, DirectoryLayers::Open(root, *store.database, *store.trash));
  ASSIGN_OR_RETURN(store.rootfs, Rootfs::Open(root, *store.trash));
  ASSIGN_OR_RETURN(store.content, Content::Open(root));
  ASSIGN_OR_RETURN(store.report, store.layers->Recover());
  return store;
}

Status AddLayer(Store& store, uint8_t n) {
  ASSIGN_OR_RETURN(LayerStaging staging, store.layers->Begin(TestDigest(n)));
  WriteText(staging.fs() + "/file", "layer " + std::to_string(n));
  return store.layers->Commit(std::move(staging), {.size = 7, .entries = 2});
}

// A pull and a clean-up, as the engine would do them.
Status PullAndCollect(Store& store) {
  for (uint8_t n : {1, 2, 3}) RETURN_IF_ERROR(AddLayer(store, n));
  RETURN_IF_ERROR(store.content->Put(Hello(), "hello"));
  Batch batch;
  batch.Put(Kind::kImage, "image", "1 2 3");
  batch.Delete(Kind::kIntent, "pull image");
  RETURN_IF_ERROR(store.database->Put(Kind::kIntent, "pull image", "", Durability::kAtomic));
  RETURN_IF_ERROR(store.database->Apply(batch, Durability::kDurable));
  RETURN_IF_ERROR(store.layers->Remove(TestDigest(3)));
  { ASSIGN_OR_RETURN(LayerStaging given_up, store.layers->Begin(TestDigest(4))); }
  return {};
}

void ExpectConsistent(const std::string& root) {
  ASSERT_OK_AND_ASSIGN(Store store, OpenStore(root));
  EXPECT_THAT(store.report.lost, IsEmpty());
  std::set<std::string> known;
  for (const Layer& layer : store.layers->List()) {
    known.insert(layer.diff_id.hex());
    EXPECT_EQ(ReadText(layer.path + "/file"), "layer " + std::to_string(static_cast<uint8_t>(layer.diff_id.raw()[0])));
  }
  std::set<std::string> there;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/layers")) there.insert(entry.path().filename());
  EXPECT_EQ(there, known);
  if (store.content->Has(Hello())) {
    EXPECT_EQ(store.content->Get(Hello()).value_or(""), "hello");
  }
  // The image and its intent change together.
  bool image = store.database->Get(Kind::kImage, "image").ok();
  EXPECT_FALSE(image && store.database->Get(Kind::kIntent, "pull image").ok());
  EXPECT_TRUE(!image || known.size() >= 2);
  EXPECT_TRUE(store.trash->WaitIdle(Deadline::After(std::chrono::seconds(60))));
  EXPECT_TRUE(std::filesystem::is_empty(root + "/trash"));
}

// Runs one of the DISABLED_ tests below in a process of its own.
Result<sys::CommandResult> RunChild(const std::string& test, const std::string& root, std::vector<std::string> env) {
  sys::SpawnOptions options;
  options.argv = {std::filesystem::read_symlink("/proc/self/exe"), "--gtest_also_run_disabled_tests",
                  "--gtest_filter=CrashChild.DISABLED_" + test};
  options.env = sys::MinimalEnvironment();
  options.env.push_back(std::string(kRootVariable) + "=" + root);
  for (std::string& variable : env) options.env.push_back(std::move(variable));
  return sys::RunCommand(std::move(options), "", 1 << 20, Deadline::After(std::chrono::seconds(60)));
}

std::set<std::string> TraceSteps(const std::string& test, std::vector<std::string> env) {
  TestDir dir;
  std::string trace = dir / "trace";
  env.push_back("DAVIT_FAULT_TRACE=" + trace);
  Result<sys::CommandResult> run = RunChild(test, dir / "store", std::move(env));
  EXPECT_TRUE(run.ok()) << run.status().ToString();
  if (run.ok()) {
    EXPECT_EQ(run->exit.code, 0) << run->out << run->err;
  }
  std::set<std::string> steps;
  for (const std::string& step : Split(ReadText(trace), '\n')) {
    if (!step.empty()) steps.insert(step);
  }
  return steps;
}

TEST(CrashTest, EveryStepOfAPullLeavesAStoreThatRecovers) {
  std::set<std::string> steps = TraceSteps("PullAndCollect", {});
  EXPECT_GE(steps.size(), 9u);
  EXPECT_TRUE(steps.count("store.layer.commit.synced") && steps.count("store.layer.commit.renamed"));
  for (const std::string& step : steps) {
    SCOPED_TRACE(step);
    TestDir dir;
    std::string root = dir / "store";
    ASSERT_OK_AND_ASSIGN(sys::CommandResult killed, RunChild("PullAndCollect", root, {"DAVIT_FAULT_KILL=" + step}));
    EXPECT_EQ(killed.exit.signal, SIGKILL) << killed.out;
    ExpectConsistent(root);
    ExpectConsistent(root);
    ASSERT_OK_AND_ASSIGN(sys::CommandResult again, RunChild("PullAndCollect", root, {}));
    EXPECT_EQ(again.exit.code, 0) << again.out;
    ExpectConsistent(root);
  }
}

TEST(CrashTest, RecoveryMayItselfBeKilled) {
  for (const char* step : {"store.layer.recover.dropped", "store.layer.recover.discarded", "store.trash.discarded"}) {
    SCOPED_TRACE(step);
    TestDir dir;
    std::string root = dir / "store";
    {
      ASSERT_OK_AND_ASSIGN(sys::CommandResult run, RunChild("PullAndCollect", root, {}));
      ASSERT_EQ(run.exit.code, 0) << run.out;
    }
    for (const char* name : {"/layers/.staging-a/fs", "/layers/.staging-b/fs"}) {
      ASSERT_OK(sys::MakeDirectories(root + name, 0755));
    }
    ASSERT_OK(sys::RemoveTree(root + "/layers/" + TestDigest(1).hex()));
    ASSERT_OK(sys::RemoveTree(root + "/layers/" + TestDigest(2).hex()));
    ASSERT_OK_AND_ASSIGN(sys::CommandResult killed,
                         RunChild("Recover", root, {std::string("DAVIT_FAULT_KILL=") + step}));
    EXPECT_EQ(killed.exit.signal, SIGKILL) << killed.out;
    { ASSERT_OK_AND_ASSIGN(Store store, OpenStore(root)); }
    ASSERT_OK_AND_ASSIGN(Store store, OpenStore(root));
    EXPECT_THAT(store.report.lost, IsEmpty());
    EXPECT_THAT(store.layers->List(), IsEmpty());
    EXPECT_TRUE(std::filesystem::is_empty(root + "/layers"));
  }
}

// Needs root: the child mounts an overlay, which outlives it.
TEST(RootCrashTest, EveryStepOfARootfsCanBeUndoneFromTheId) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting an overlay needs root";
  ContainerId id = ContainerId::Mint();
  std::string container = std::string(kContainerVariable) + "=" + id.str();
  std::set<std::string> steps = TraceSteps("Rootfs", {container});
  EXPECT_GE(steps.size(), 4u);
  for (const std::string& step : steps) {
    SCOPED_TRACE(step);
    TestDir dir;
    std::string root = dir / "store";
    ASSERT_OK_AND_ASSIGN(sys::CommandResult killed, RunChild("Rootfs", root, {container, "DAVIT_FAULT_KILL=" + step}));
    EXPECT_EQ(killed.exit.signal, SIGKILL) << killed.out;
    ASSERT_OK_AND_ASSIGN(Store store, OpenStore(root));
    EXPECT_TRUE(store.rootfs->Unmount(id, root + "/target").ok());
    EXPECT_TRUE(store.rootfs->RemoveWritable(id).ok());
    EXPECT_FALSE(sys::IsMountPoint(root + "/target").value_or(false));
    EXPECT_TRUE(store.trash->WaitIdle(Deadline::After(std::chrono::seconds(60))));
    EXPECT_TRUE(std::filesystem::is_empty(root + "/containers"));
    EXPECT_TRUE(std::filesystem::is_empty(root + "/trash"));
  }
}

// What the children run.
std::string RootFromEnvironment() {
  const char* root = ::getenv(kRootVariable);
  return root == nullptr ? "" : root;
}

TEST(CrashChild, DISABLED_PullAndCollect) {
  if (RootFromEnvironment().empty()) GTEST_SKIP() << "run by CrashTest";
  ASSERT_OK_AND_ASSIGN(Store store, OpenStore(RootFromEnvironment()));
  ASSERT_OK(PullAndCollect(store));
}

TEST(CrashChild, DISABLED_Recover) {
  if (RootFromEnvironment().empty()) GTEST_SKIP() << "run by CrashTest";
  ASSERT_OK_AND_ASSIGN(Store store, OpenStore(RootFromEnvironment()));
}

TEST(CrashChild, DISABLED_Rootfs) {
  if (RootFromEnvironment().empty()) GTEST_SKIP() << "run by RootCrashTest";
  std::string root = RootFromEnvironment();
  ASSERT_OK_AND_ASSIGN(Store store, OpenStore(root));
  ASSERT_OK_AND_ASSIGN(ContainerId id, ContainerId::Parse(::getenv(kContainerVariable)));
  ASSERT_OK(sys::MakeDirectories(root + "/lower", 0755));
  ASSERT_OK(store.rootfs->Mount(id, {.layers = {root + "/lower"}, .target = root + "/target"}));
  WriteText(root + "/target/file", "x");
  ASSERT_OK(store.rootfs->Unmount(id, root + "/target"));
  ASSERT_OK(store.rootfs->RemoveWritable(id));
}

}  // namespace
}  // namespace davit::store
