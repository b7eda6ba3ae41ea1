#include "store/volumes.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "store/test_dir.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

class VolumesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto trash = Trash::Open(dir_.path());
    ASSERT_TRUE(trash.ok()) << trash.status().ToString();
    trash_ = std::move(*trash);
    Reopen();
  }
  void TearDown() override {
    if (volumes_) EXPECT_TRUE(volumes_->Collect().ok());
  }
  void Reopen() {
    volumes_.reset();
    auto volumes =
        Volumes::Open(dir_.path(), *trash_, [this](const std::string& name) { return used_.count(name) != 0; });
    ASSERT_TRUE(volumes.ok()) << volumes.status().ToString();
    volumes_ = std::move(*volumes);
  }
  static VolumeRecord Named(const std::string& name) {
    VolumeRecord record;
    record.name = name;
    return record;
  }
  TestDir dir_;
  std::set<std::string> used_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<Volumes> volumes_;
};

TEST(VolumeNameTest, IsWhatDockerTakes) {
  for (const char* good : {"a", "A.b_c-9", "0"}) EXPECT_TRUE(IsVolumeName(good)) << good;
  EXPECT_TRUE(IsVolumeName(std::string(255, 'x')));
  for (const char* bad : {"", ".a", "-a", "_a", "a/b", "a b", "ä", ".."}) EXPECT_FALSE(IsVolumeName(bad)) << bad;
  EXPECT_FALSE(IsVolumeName(std::string(256, 'x')));
}

TEST(VolumeOptionsTest, KnowsTmpfsBindsAndOwners) {
  auto tmpfs = ParseVolumeOptions({{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=10m,uid=7,noexec,ro"}});
  ASSERT_TRUE(tmpfs.ok()) << tmpfs.status().ToString();
  EXPECT_TRUE(tmpfs->tmpfs && tmpfs->read_only);
  EXPECT_EQ(tmpfs->data, "size=10m,uid=7");
  EXPECT_EQ(tmpfs->flags, 8U);
  auto bind = ParseVolumeOptions({{"type", "none"}, {"device", "/srv"}, {"o", "bind"}});
  ASSERT_TRUE(bind.ok());
  EXPECT_EQ(bind->bind, "/srv");
  EXPECT_EQ(ParseVolumeOptions({{"o", "uid=1000,gid=1001"}})->gid, 1001U);
}

TEST(VolumeOptionsTest, RefusesTheRestByName) {
  using Options = std::map<std::string, std::string>;
  for (const Options& bad :
       {Options{{"size", "1"}}, Options{{"type", "nfs"}, {"device", ":/x"}, {"o", "addr=1.2.3.4"}},
        Options{{"type", "none"}, {"device", "relative"}, {"o", "bind"}}, Options{{"device", "/x"}},
        Options{{"o", "uid=root"}}, Options{{"o", "exec"}}, Options{{"type", "tmpfs"}, {"o", "context=x"}},
        Options{{"type", "tmpfs"}, {"o", "size=1 \n"}},
        Options{{"type", "none"}, {"device", "/x"}, {"o", "bind,suid"}}}) {
    EXPECT_EQ(ParseVolumeOptions(bad).code(), StatusCode::kInvalidArgument) << bad.begin()->second;
  }
}

TEST_F(VolumesTest, CreateFindAndListSurviveAReopen) {
  VolumeRecord request = Named("data");
  request.labels = {{"a", "b"}};
  auto made = volumes_->Create(request);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_TRUE(made->second);
  EXPECT_GT(made->first.created_at, 0);
  EXPECT_EQ(ModeOf(volumes_->Mountpoint("data")), 0755U);
  EXPECT_FALSE(volumes_->Create(request)->second);
  EXPECT_EQ(volumes_->Create(Named("data")).code(), StatusCode::kAlreadyExists);
  VolumeRecord anonymous;
  anonymous.anonymous = true;
  auto minted = volumes_->Create(anonymous);
  ASSERT_TRUE(minted.ok());
  EXPECT_EQ(minted->first.name.size(), 64U);
  Reopen();
  ASSERT_EQ(volumes_->List().size(), 2U);
  EXPECT_EQ(volumes_->Find("data")->labels, request.labels);
  EXPECT_TRUE(volumes_->Find(minted->first.name)->anonymous);
  EXPECT_EQ(volumes_->Find("none").code(), StatusCode::kNotFound);
}

TEST_F(VolumesTest, BadRequestsLeaveNothing) {
  VolumeRecord driver = Named("a");
  driver.driver = "rexray";
  EXPECT_EQ(volumes_->Create(driver).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(volumes_->Create(Named("../a")).code(), StatusCode::kInvalidArgument);
  VolumeRecord labels = Named("a");
  for (int i = 0; i < 1001; ++i) labels.labels[std::to_string(i)] = "";
  EXPECT_EQ(volumes_->Create(labels).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(volumes_->List().empty());
  EXPECT_FALSE(Exists(dir_ / "volumes/a"));
}

TEST_F(VolumesTest, WhatIsHeldOrUsedIsNotRemoved) {
  ASSERT_TRUE(volumes_->Create(Named("a")).ok());
  {
    const VolumeHold hold = volumes_->Hold("a");
    EXPECT_EQ(volumes_->Remove("a").code(), StatusCode::kFailedPrecondition);
  }
  used_ = {"a"};
  EXPECT_EQ(volumes_->Remove("a").code(), StatusCode::kFailedPrecondition);
  used_.clear();
  EXPECT_TRUE(volumes_->Remove("a").ok());
  EXPECT_FALSE(Exists(dir_ / "volumes/a"));
  EXPECT_EQ(volumes_->Remove("a").code(), StatusCode::kNotFound);
}

TEST_F(VolumesTest, ABadRecordCostsItsOwnVolumeOnly) {
  ASSERT_TRUE(volumes_->Create(Named("good")).ok());
  ASSERT_TRUE(volumes_->Create(Named("bad")).ok());
  ASSERT_TRUE(volumes_->Create(Named("other")).ok());
  WriteText(dir_ / "volumes/bad/volume.json", "{");
  WriteText(dir_ / "volumes/other/volume.json", ReadText(dir_ / "volumes/good/volume.json"));
  ASSERT_EQ(::mkdir((dir_ / "volumes/.davit-tmp-x").c_str(), 0700), 0);
  Reopen();
  ASSERT_EQ(volumes_->List().size(), 1U);
  EXPECT_EQ(volumes_->unreadable().size(), 2U);
  EXPECT_TRUE(Exists(dir_ / "volumes/bad/_data"));
  EXPECT_FALSE(Exists(dir_ / "volumes/.davit-tmp-x"));
}

TEST_F(VolumesTest, AnEmptyVolumeIsFilledOnceAndWhole) {
  ASSERT_TRUE(volumes_->Create(Named("a")).ok());
  EXPECT_TRUE(volumes_->Find("a")->fresh);
  auto fails = [](const std::string& directory) {
    WriteText(directory + "/half", "x");
    return Internal("no");
  };
  EXPECT_EQ(volumes_->Fill("a", fails).code(), StatusCode::kInternal);
  EXPECT_FALSE(Exists(volumes_->Mountpoint("a") + "/half"));
  EXPECT_TRUE(volumes_->Find("a")->fresh);
  int calls = 0;
  auto fill = [&](const std::string& directory) {
    ++calls;
    WriteText(directory + "/file", "content");
    return ::chmod(directory.c_str(), 0711) == 0 ? Status() : Internal("chmod");
  };
  ASSERT_TRUE(volumes_->Fill("a", fill).ok());
  ASSERT_TRUE(volumes_->Fill("a", fill).ok());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(ReadText(volumes_->Mountpoint("a") + "/file"), "content");
  EXPECT_EQ(ModeOf(volumes_->Mountpoint("a")), 0711U);
  Reopen();
  EXPECT_FALSE(volumes_->Find("a")->fresh);
  EXPECT_GT(volumes_->Usage("a")->bytes, 0U);
}

TEST_F(VolumesTest, TwoThatFillWaitForEachOther) {
  ASSERT_TRUE(volumes_->Create(Named("a")).ok());
  std::atomic<int> calls = 0;
  auto fill = [&](const std::string& directory) {
    ++calls;
    WriteText(directory + "/file", "content");
    return Status();
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_TRUE(volumes_->Fill("a", fill).ok()); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(calls, 1);
}

TEST_F(VolumesTest, ABindIsTheNodesDirectory) {
  VolumeRecord request = Named("b");
  request.options = {{"type", "none"}, {"device", dir_ / "src"}, {"o", "bind,ro"}};
  ASSERT_TRUE(volumes_->Create(request).ok());
  EXPECT_EQ(volumes_->Attach("b").code(), StatusCode::kFailedPrecondition);
  ASSERT_EQ(::mkdir((dir_ / "src").c_str(), 0755), 0);
  EXPECT_EQ(volumes_->Attach("b")->path, dir_ / "src");
  EXPECT_TRUE(volumes_->Attach("b")->read_only);
  auto never = [](const std::string&) { return Internal("a directory of the node is not filled"); };
  EXPECT_TRUE(volumes_->Fill("b", never).ok());
}

using RootVolumesTest = VolumesTest;

TEST_F(RootVolumesTest, ATmpfsIsThereWhileItIsUsed) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  VolumeRecord request = Named("t");
  request.options = {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,mode=0750"}};
  ASSERT_TRUE(volumes_->Create(request).ok());
  {
    const VolumeHold hold = volumes_->Hold("t");
    auto attached = volumes_->Attach("t");
    ASSERT_TRUE(attached.ok()) << attached.status().ToString();
    EXPECT_TRUE(*sys::IsMountPoint(attached->path));
    EXPECT_EQ(ModeOf(attached->path), 0750U);
    EXPECT_TRUE(volumes_->Collect().ok());
    EXPECT_TRUE(*sys::IsMountPoint(attached->path));
  }
  used_ = {"t"};
  EXPECT_TRUE(volumes_->Collect().ok());
  EXPECT_TRUE(*sys::IsMountPoint(volumes_->Mountpoint("t")));
  used_.clear();
  EXPECT_TRUE(volumes_->Collect().ok());
  EXPECT_FALSE(*sys::IsMountPoint(volumes_->Mountpoint("t")));
  ASSERT_TRUE(volumes_->Attach("t").ok());
  EXPECT_TRUE(volumes_->Remove("t").ok());
  EXPECT_FALSE(Exists(dir_ / "volumes/t"));
}

}  // namespace
}  // namespace davit::store
