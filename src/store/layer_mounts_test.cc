#include "store/layer_mounts.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "store/rootfs.h"
#include "store/test_dir.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"
#include "sys/user_namespace.h"

namespace davit::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kOffset = 32768;

class LayerMountsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(database_, Database::Open(dir_ / "davit.db"));
    ASSERT_OK_AND_ASSIGN(trash_, Trash::Open(dir_.path()));
    ASSERT_OK_AND_ASSIGN(layers_, DirectoryLayers::Open(dir_.path(), *database_, *trash_));
    ASSERT_OK(layers_->Recover().status());
    OpenMounts();
  }
  void TearDown() override {
    used_.clear();
    if (mounts_) {
      EXPECT_TRUE(mounts_->Collect().ok());
    }
  }

  void OpenMounts() {
    ASSERT_OK_AND_ASSIGN(mounts_, LayerMounts::Open(dir_ / "state", *layers_,
                                                    [this](const std::string& k) { return used_.count(k) != 0; }));
  }

  // A file layer; `path` empty: the layer's own file.
  void Commit(const oci::Digest& key, LayerFile file, const std::string& content) {
    ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers_->Begin(key));
    if (file.path.empty()) WriteText(staging.fs() + "/image.sif", content);
    file.offset = kOffset;
    file.size = content.size() - kOffset;
    ASSERT_OK(layers_->Commit(std::move(staging), {.size = content.size(), .entries = 1, .file = file}));
  }

  std::vector<std::string> Mounted() { return *mounts_->Mounted(); }
  std::string At(const oci::Digest& key) { return dir_ / ("state/layers/" + key.hex()); }

  TestDir dir_;
  std::set<std::string> used_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<DirectoryLayers> layers_;
  std::unique_ptr<LayerMounts> mounts_;
  oci::Digest key_ = TestDigest(7);
};

TEST_F(LayerMountsTest, ADirectoryLayerIsItsOwnLowerdir) {
  ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers_->Begin(key_));
  ASSERT_OK(layers_->Commit(std::move(staging), {}));
  MountLease lease;
  ASSERT_OK_AND_ASSIGN(std::string path, mounts_->Path(key_, lease));
  EXPECT_EQ(path, *layers_->Path(key_));
  EXPECT_THAT(Mounted(), IsEmpty());
  EXPECT_EQ(mounts_->Path(TestDigest(8), lease).code(), StatusCode::kNotFound);
}

TEST_F(LayerMountsTest, RecordsOfFileLayersSurviveARestart) {
  Commit(key_, {}, std::string(kOffset + 512, 'x'));
  ASSERT_OK_AND_ASSIGN(Layer before, layers_->Find(key_));
  EXPECT_EQ(before.FilePath(), before.path + "/image.sif");
  EXPECT_TRUE(Exists(before.FilePath()));
  EXPECT_FALSE(Exists(before.path + "/../fs")) << "nothing that could be taken for a root filesystem";
  mounts_.reset();
  layers_.reset();
  ASSERT_OK_AND_ASSIGN(layers_, DirectoryLayers::Open(dir_.path(), *database_, *trash_));
  ASSERT_OK_AND_ASSIGN(LayerRecovery recovery, layers_->Recover());
  EXPECT_THAT(recovery.lost, IsEmpty());
  ASSERT_OK_AND_ASSIGN(Layer after, layers_->Find(key_));
  EXPECT_EQ(after.info, before.info);
  EXPECT_TRUE(layers_->Check(key_));
  ::unlink(after.FilePath().c_str());
  EXPECT_FALSE(layers_->Check(key_));
  EXPECT_FALSE(layers_->Has(key_));
}

TEST_F(LayerMountsTest, AFileElsewhereIsWhatWasPulledOrRefused) {
  const std::string path = dir_ / "users.sif";
  WriteText(path, std::string(kOffset + 512, 'x'));
  LayerFile file{.path = path};
  {
    ASSERT_OK_AND_ASSIGN(sys::UniqueFd fd, sys::Open(path, O_RDONLY));
    ASSERT_OK(Identify(fd.get(), file));
  }
  Commit(key_, file, std::string(kOffset + 512, 'x'));
  EXPECT_TRUE(layers_->Check(key_));
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  MountLease lease;
  Result<std::string> refused = mounts_->Path(key_, lease);
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("pull the image again"));
  EXPECT_FALSE(layers_->Check(key_));
  EXPECT_TRUE(Exists(path)) << "the user's file stays";
}

// Mounts through loop devices.
class RootLayerMountsTest : public LayerMountsTest {
 protected:
  void SetUp() override {
    LayerMountsTest::SetUp();
    if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
    if (std::system("command -v mksquashfs >/dev/null") != 0) GTEST_SKIP() << "no mksquashfs (squashfs-tools)";
    if (::access("/dev/loop-control", R_OK | W_OK) != 0) GTEST_SKIP() << "no loop devices";
    ASSERT_TRUE(sys::MakeDirectories(dir_ / "tree/bin", 0755).ok());
    WriteText(dir_ / "tree/bin/tool", "#!/bin/sh\n");
    ASSERT_EQ(::chmod((dir_ / "tree/bin/tool").c_str(), 04755), 0);
    const std::string made = dir_ / "root.squashfs";
    ASSERT_EQ(std::system(("mksquashfs " + dir_ / "tree " + made + " -quiet -noappend >/dev/null").c_str()), 0);
    content_ = std::string(kOffset, 'h') + *sys::ReadFile(made, 1 << 20) + std::string(4096, 't');
  }

  // The loop devices of files in this test's directory, as the kernel has them.
  std::vector<std::string> Loops() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block")) {
      Result<std::string> file = sys::ReadFile(entry.path().string() + "/loop/backing_file", 8192);
      if (file.ok() && file->find(dir_.path()) != std::string::npos) found.push_back(*file);
    }
    return found;
  }

  std::string content_;
};

TEST_F(RootLayerMountsTest, FiftyUsersShareOneMountAndOneLoopDevice) {
  Commit(key_, {}, content_);
  std::vector<MountLease> leases(50);
  for (MountLease& lease : leases) {
    ASSERT_OK_AND_ASSIGN(std::string path, mounts_->Path(key_, lease));
    EXPECT_EQ(path, At(key_));
  }
  EXPECT_EQ(ReadText(At(key_) + "/bin/tool"), "#!/bin/sh\n");
  EXPECT_EQ(Loops().size(), 1u);
  leases.pop_back();
  ASSERT_OK(mounts_->Collect());
  EXPECT_EQ(Loops().size(), 1u) << "the others have it";
  leases.clear();
  used_.insert(key_.ToString());
  ASSERT_OK(mounts_->Collect());
  EXPECT_EQ(Loops().size(), 1u) << "a record has it";
  used_.clear();
  ASSERT_OK(mounts_->Collect());
  EXPECT_THAT(Loops(), IsEmpty());
  EXPECT_THAT(Mounted(), IsEmpty());
}

TEST_F(RootLayerMountsTest, TheNextStartTakesUpWhatIsMounted) {
  Commit(key_, {}, content_);
  {
    MountLease lease;
    ASSERT_OK(mounts_->Path(key_, lease).status());
  }
  OpenMounts();  // as after a kill: no lease
  used_.insert(key_.ToString());
  ASSERT_OK(mounts_->Collect());
  EXPECT_THAT(Mounted(), ElementsAre(key_.hex()));
  MountLease lease;
  ASSERT_OK(mounts_->Path(key_, lease).status());
  EXPECT_EQ(Loops().size(), 1u) << "no second mount over the first";
  OpenMounts();
  used_.clear();
  ASSERT_OK(mounts_->Collect());
  EXPECT_THAT(Loops(), IsEmpty());
}

TEST_F(RootLayerMountsTest, ADirectoryWithoutItsMountIsCollected) {
  ASSERT_TRUE(sys::MakeDirectories(At(key_), 0700).ok());  // killed before the mount
  ASSERT_OK(mounts_->Collect());
  EXPECT_THAT(Mounted(), IsEmpty());
}

TEST_F(RootLayerMountsTest, AContainerRunsFromItAndKeepsIt) {
  Commit(key_, {}, content_);
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Rootfs> rootfs, Rootfs::Open(dir_.path(), *trash_));
  ContainerId id = ContainerId::Mint();
  const std::string target = dir_ / "rootfs";
  {
    MountLease lease;
    ASSERT_OK_AND_ASSIGN(std::string lower, mounts_->Path(key_, lease));
    ASSERT_OK(rootfs->Mount(id, {.layers = {lower}, .target = target}));
  }
  ASSERT_OK(mounts_->Collect());  // too early, by a hand
  WriteText(target + "/written", "x");
  EXPECT_EQ(ReadText(target + "/bin/tool"), "#!/bin/sh\n");
  EXPECT_EQ(ModeOf(target + "/bin/tool"), 04755u);
  EXPECT_EQ(std::system((target + "/bin/tool").c_str()), 0) << "noexec of the layer's mount is not the overlay's";
  EXPECT_EQ(Loops().size(), 1u);
  ASSERT_OK(rootfs->Unmount(id, target));
  EXPECT_THAT(Loops(), IsEmpty());
}

TEST_F(RootLayerMountsTest, AUserNamespaceShiftsItsOwners) {
  Commit(key_, {}, content_);
  Result<sys::UniqueFd> user = sys::CreateUserNamespace({{{0, 100000, 65536}}, {{0, 100000, 65536}}});
  if (!user.ok()) GTEST_SKIP() << user.status().message();
  const std::string pinned = "/proc/self/fd/" + std::to_string(user->get());
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<Rootfs> rootfs, Rootfs::Open(dir_.path(), *trash_));
  ContainerId id = ContainerId::Mint();
  const std::string target = dir_ / "rootfs";
  MountLease lease;
  ASSERT_OK_AND_ASSIGN(std::string lower, mounts_->Path(key_, lease));
  RootfsMount mount{.layers = {lower}, .target = target};
  mount.user_namespace = pinned;
  mount.ids = {0, 100000, 65536};
  Status mounted = rootfs->Mount(id, mount);
  if (!mounted.ok()) {  // Linux before 6.2: refused, and it says what cannot
    EXPECT_EQ(mounted.code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(mounted.message(), HasSubstr("squashfs"));
    return;
  }
  struct stat info {};
  ASSERT_EQ(::stat((target + "/bin/tool").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 100000u);
  ASSERT_OK(rootfs->Unmount(id, target));
}

TEST_F(RootLayerMountsTest, WhatTheKernelDoesNotTakeIsRefusedAndLeavesNothing) {
  std::fill(content_.begin() + kOffset, content_.begin() + kOffset + 96, '\xee');
  Commit(key_, {}, content_);
  MountLease lease;
  EXPECT_EQ(mounts_->Path(key_, lease).code(), StatusCode::kDataLoss);
  ASSERT_OK(mounts_->Collect());
  EXPECT_THAT(Loops(), IsEmpty());
  EXPECT_THAT(Mounted(), IsEmpty());
}

}  // namespace
}  // namespace davit::store
