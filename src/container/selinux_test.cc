#include "container/selinux.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::container {
namespace {

// A policy that knows the labels with these types, and notes what was labelled.
class FakeSelinux final : public Selinux {
 public:
  [[nodiscard]] const SelinuxDefaults& defaults() const override { return defaults_; }
  [[nodiscard]] Status Check(const std::string& label) const override {
    Result<SelinuxContext> context = ParseSelinuxContext(label);
    bool known = context.ok() && types.count(context->type) != 0 && context->level.starts_with("s0") &&
                 (context->level.size() == 2 || context->level[2] != ',');
    return known ? Status() : InvalidArgument("unknown label " + label);
  }
  [[nodiscard]] Status SetFileLabel(const std::string& path, const std::string& label) const override {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return ErrnoError(errno, path);
    labelled[info.st_ino] = label;
    return {};
  }
  [[nodiscard]] bool Labelled(const std::string& path) const {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 && labelled.count(info.st_ino) != 0;
  }

  std::set<std::string> types = {"container_t", "container_file_t", "spc_t", "other_t"};
  mutable std::map<ino_t, std::string> labelled;

 private:
  SelinuxDefaults defaults_{{"system_u", "system_r", "container_t", "s0"},
                            {"system_u", "object_r", "container_file_t", "s0"}};
};

const SelinuxOptions kPod{"", "", "", "s0:c1,c2"};

TEST(SelinuxContextTest, ALevelKeepsItsColons) {
  SelinuxContext context = *ParseSelinuxContext("u:r:t:s0-s0:c0.c1023");
  EXPECT_EQ(context.level, "s0-s0:c0.c1023");
  EXPECT_EQ(context.ToString(), "u:r:t:s0-s0:c0.c1023");
  EXPECT_EQ(ParseSelinuxContext("u:r:t")->ToString(), "u:r:t");
  for (const char* bad : {"", "u", "u:r", "u:r:", ":r:t:s0", "u::t:s0"}) {
    EXPECT_EQ(ParseSelinuxContext(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SelinuxContextTest, DefaultsComeFromThePolicysFile) {
  Result<SelinuxDefaults> defaults = ParseLxcContexts(
      "# process = \"no:no:no:s0\"\nprocess = \"system_u:system_r:container_t:s0\"\ncontent = \"a:b:c:s0\"\n"
      "file=\"system_u:object_r:container_file_t:s0\"\n");
  ASSERT_TRUE(defaults.ok()) << defaults.status().message();
  EXPECT_EQ(defaults->process.type, "container_t");
  EXPECT_EQ(defaults->file.ToString(), "system_u:object_r:container_file_t:s0");
  EXPECT_EQ(ParseLxcContexts("process = \"a:b:c\"\n").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ParseLxcContexts("").code(), StatusCode::kFailedPrecondition);
}

TEST(SelinuxLabelsTest, DefaultsWithThePodsCategories) {
  FakeSelinux selinux;
  SelinuxLabels labels = *ResolveSelinux(selinux, SecurityContext(), kPod);
  EXPECT_EQ(labels.process, "system_u:system_r:container_t:s0:c1,c2");
  EXPECT_EQ(labels.mount, "system_u:object_r:container_file_t:s0:c1,c2");
}

TEST(SelinuxLabelsTest, TheContainersWishesWinOverThePods) {
  FakeSelinux selinux;
  SecurityContext security;
  security.selinux = SelinuxOptions{"", "my_r", "", "s0:c4,c5"};
  SelinuxLabels labels = *ResolveSelinux(selinux, security, {"pod_u", "pod_r", "other_t", "s0:c1,c2"});
  EXPECT_EQ(labels.process, "pod_u:my_r:other_t:s0:c4,c5");
  EXPECT_EQ(labels.mount, "system_u:object_r:container_file_t:s0:c4,c5");
}

TEST(SelinuxLabelsTest, PrivilegedIsSpcWhereThePolicyHasIt) {
  FakeSelinux selinux;
  SecurityContext security;
  security.privileged = true;
  SelinuxLabels labels = *ResolveSelinux(selinux, security, kPod);
  EXPECT_EQ(labels.process, "system_u:system_r:spc_t:s0-s0:c0.c1023");
  EXPECT_EQ(labels.mount, "system_u:object_r:container_file_t:s0:c1,c2");
  selinux.types.erase("spc_t");
  EXPECT_EQ(ResolveSelinux(selinux, security, kPod)->process, "system_u:system_r:container_t:s0:c1,c2");
  selinux.types.insert("spc_t");
  security.selinux = SelinuxOptions{"", "", "other_t", "s0"};
  EXPECT_EQ(ResolveSelinux(selinux, security, kPod)->process, "system_u:system_r:other_t:s0");
}

TEST(SelinuxLabelsTest, WhatThePolicyDoesNotKnowIsRefusedNamingTheField) {
  FakeSelinux selinux;
  for (const SelinuxOptions& bad :
       {SelinuxOptions{"", "", "nope_t", ""}, SelinuxOptions{"", "", "", "s0,c4,c5"}, SelinuxOptions{"", "", "a:b", ""},
        SelinuxOptions{"u\"", "", "", ""}, SelinuxOptions{"", "", "", "s0 "}}) {
    SecurityContext security;
    security.selinux = bad;
    Result<SelinuxLabels> labels = ResolveSelinux(selinux, security, kPod);
    EXPECT_EQ(labels.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(labels.status().message().find("selinux_options"), std::string::npos) << labels.status().message();
  }
}

TEST(SelinuxLevelTest, PairsAreOrderedDifferentAndNotTaken) {
  std::vector<uint32_t> numbers = {7, 7, 9, 3, 9, 3, 5, 8};
  size_t next = 0;
  auto random = [&](uint32_t) { return numbers.at(next++); };
  EXPECT_EQ(*PickSelinuxLevel({"s0:c3,c9"}, random), "s0:c5,c8");
  // Without luck the first free one is found by search.
  EXPECT_EQ(*PickSelinuxLevel({"s0:c0,c1"}, [](uint32_t) { return 0u; }), "s0:c0,c2");
}

TEST(SelinuxRelabelTest, DirectoriesOfTheSystemAreRefused) {
  for (const char* path : {"/", "/etc", "/etc/hosts", "/etc/cni", "/usr", "/usr/lib/x", "/home", "/home/user", "/root",
                           "/tmp", "/var", "/var/lib", "/var/lib/kubelet", "/dev/sda", "/proc/1", "/sys/fs"}) {
    EXPECT_EQ(CheckRelabel(path).code(), StatusCode::kInvalidArgument) << path;
  }
  for (const char* path : {"/var/lib/kubelet/pods/x/volumes/v", "/tmp/x", "/home/user/data", "/srv/data", "/etcx"}) {
    EXPECT_TRUE(CheckRelabel(path).ok()) << path;
  }
}

TEST(SelinuxRelabelTest, EverythingBelowAndNothingBehindSymlinks) {
  FakeSelinux selinux;
  sys::TempDir dir;
  sys::TempDir other;
  ASSERT_TRUE(sys::MakeDirectories(dir.At("a/b"), 0755).ok());
  ASSERT_TRUE(sys::WriteFileAtomic(dir.At("a/b/file"), "", 0600, sys::Durability::kAtomic).ok());
  ASSERT_TRUE(sys::WriteFileAtomic(other.At("secret"), "", 0600, sys::Durability::kAtomic).ok());
  ASSERT_EQ(::symlink(other.path().c_str(), dir.At("a/link").c_str()), 0);
  Status labelled = RelabelTree(selinux, dir.path(), "l", Deadline::After(std::chrono::seconds(30)));
  ASSERT_TRUE(labelled.ok()) << labelled.message();
  EXPECT_TRUE(selinux.Labelled(dir.path()));
  EXPECT_TRUE(selinux.Labelled(dir.At("a/b/file")));
  EXPECT_TRUE(selinux.Labelled(dir.At("a/link"))) << "the link itself";
  EXPECT_FALSE(selinux.Labelled(other.path()));
  EXPECT_FALSE(selinux.Labelled(other.At("secret")));
  EXPECT_EQ(RelabelTree(selinux, dir.path(), "l", Deadline::After(std::chrono::seconds(0))).code(),
            StatusCode::kDeadlineExceeded);
}

TEST(SelinuxLibraryTest, WithoutAPolicyThereIsNone) {
  if (::access("/sys/fs/selinux/enforce", F_OK) == 0) GTEST_SKIP() << "this machine has SELinux";
  EXPECT_EQ(*OpenSelinux(), nullptr);
}

}  // namespace
}  // namespace davit::container
