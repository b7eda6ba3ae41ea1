#include "engine/container_changes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "image/whiteouts.h"
#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::engine {
namespace {

class RootChangesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "whiteouts need root";
    for (const char* name : {"upper", "top", "bottom"}) Dir(name);
    input_.upper = dir_.At("upper");
    input_.layers = {dir_.At("top"), dir_.At("bottom")};
  }
  void Dir(const std::string& name) { ASSERT_TRUE(sys::MakeDirectories(dir_.At(name), 0755).ok()) << name; }
  void Put(const std::string& name, const std::string& text = "x") {
    ASSERT_TRUE(sys::WriteFileAtomic(dir_.At(name), text, 0644, sys::Durability::kAtomic).ok()) << name;
  }
  void Whiteout(const std::string& name) {
    ASSERT_EQ(::mknod(dir_.At(name).c_str(), S_IFCHR, ::makedev(0, 0)), 0) << name;
  }
  void Opaque(const std::string& name) {
    auto fd = sys::Open(dir_.At(name), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(fd.ok() && image::MarkOpaque(fd->get()).ok()) << name;
  }
  // "C /etc", as docker diff prints it.
  std::vector<std::string> Lines() {
    auto found = ListChanges(input_, Deadline::Infinite());
    if (!found.ok()) return {found.status().ToString()};
    std::vector<std::string> lines;
    for (const Change& change : found->changes) {
      lines.push_back(std::string(1, "CAD"[static_cast<int>(change.kind)]) + " " + change.path);
    }
    truncated_ = found->truncated;
    return lines;
  }
  sys::TempDir dir_;
  ChangesInput input_;
  bool truncated_ = false;
};

using Strings = std::vector<std::string>;

TEST_F(RootChangesTest, TellsAddedModifiedAndDeletedAndTheDirectoriesAbove) {
  Dir("bottom/etc/sub");
  Put("bottom/etc/old");
  Put("bottom/etc/gone");
  Put("top/kept");
  Dir("upper/etc/sub");
  Put("upper/etc/old");
  Put("upper/etc/sub/new");
  Whiteout("upper/etc/gone");
  Whiteout("upper/never");
  Dir("upper/made/below");
  EXPECT_EQ(Lines(), (Strings{"C /etc", "D /etc/gone", "C /etc/old", "C /etc/sub", "A /etc/sub/new", "A /made",
                              "A /made/below"}));
}

TEST_F(RootChangesTest, ADirectoryThatIsOnlyThereIsNoChangeUnlessItsModeIs) {
  Dir("bottom/same");
  Dir("bottom/other");
  Dir("upper/same");
  Dir("upper/other");
  ASSERT_EQ(::chmod(dir_.At("upper/other").c_str(), 0700), 0);
  EXPECT_EQ(Lines(), (Strings{"C /other"}));
}

TEST_F(RootChangesTest, LayersHideEachOther) {
  Put("bottom/a");
  Whiteout("top/a");
  Dir("bottom/d");
  Put("bottom/d/x");
  Dir("top/d");
  Opaque("top/d");
  Put("upper/a");
  Dir("upper/d");
  Put("upper/d/x");
  EXPECT_EQ(Lines(), (Strings{"A /a", "C /d", "A /d/x"}));
}

TEST_F(RootChangesTest, AnOpaqueDirectoryHasDeletedTheRest) {
  Dir("bottom/d");
  Put("bottom/d/kept");
  Put("bottom/d/gone");
  Put("top/file");
  Dir("upper/d");
  Opaque("upper/d");
  Put("upper/d/kept");
  Dir("upper/file");
  EXPECT_EQ(Lines(), (Strings{"C /d", "D /d/gone", "C /d/kept", "C /file"}));
}

TEST_F(RootChangesTest, MountPointsAreNobodysChange) {
  Dir("bottom/etc");
  Dir("upper/etc");
  Put("upper/etc/hosts", "");
  Dir("upper/run/secrets/x");
  Dir("upper/data");
  Put("upper/data/file");
  input_.mount_points = {"etc/hosts", "run/secrets/x", "data"};
  EXPECT_EQ(Lines(), (Strings{"A /data", "A /data/file"}));
}

TEST_F(RootChangesTest, LinksAreNotFollowedAndMuchIsCut) {
  ASSERT_EQ(::symlink("/etc", dir_.At("upper/link").c_str()), 0);
  EXPECT_EQ(Lines(), (Strings{"A /link"}));
  for (int i = 0; i < 20; ++i) Put("upper/" + std::to_string(i));
  input_.max = 5;
  EXPECT_EQ(Lines().size(), 5U);
  EXPECT_TRUE(truncated_);
}

}  // namespace
}  // namespace davit::engine
