#include "image/layer_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "image/tar_builder.h"
#include "sys/atomic_file.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

class OnePiece final : public ByteSource {
 public:
  explicit OnePiece(std::string text) : text_(std::move(text)) {}
  Result<std::string_view> Next() override {
    return std::exchange(done_, true) ? std::string_view() : std::string_view(text_);
  }

 private:
  std::string text_;
  bool done_ = false;
};

// Needs root: owners, device nodes and trusted.* attributes.
class RootLayerWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "owners, device nodes and trusted.* attributes need root";
    char name[] = "/tmp/layer-writer-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    base_ = name;
    root_ = base_ + "/layer";
    ::mkdir(root_.c_str(), 0755);
    ::mkdir((base_ + "/outside").c_str(), 0755);
    old_umask_ = ::umask(0);
  }
  void TearDown() override {
    if (base_.empty()) return;
    ::umask(old_umask_);
    EXPECT_TRUE(sys::RemoveTree(base_).ok());
  }

  Status Unpack(const TarBuilder& tar, LayerWriterLimits limits = {}) {
    limits.min_free_bytes = std::min<uint64_t>(limits.min_free_bytes, 1 << 20);
    OnePiece source(tar.Finish());
    TarReader reader(source);
    auto writer = LayerWriter::Create(root_, "layer", limits);
    RETURN_IF_ERROR(writer.status());
    RETURN_IF_ERROR((*writer)->WriteAll(reader));
    totals_ = (*writer)->totals();
    warnings_ = (*writer)->warnings();
    implicit_ = (*writer)->implicit_directories();
    whiteouts_ = (*writer)->whiteout_directories();
    links_ = (*writer)->links_below();
    return {};
  }
  struct stat Stat(const std::string& name) {
    struct stat st {};
    if (::lstat((root_ + "/" + name).c_str(), &st) != 0) st.st_mode = 0;
    return st;
  }
  std::string Text(const std::string& name) {
    std::ifstream in(root_ + "/" + name);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::string Xattr(const std::string& name, const std::string& key) {
    char value[256];
    ssize_t n = ::lgetxattr((root_ + "/" + name).c_str(), key.c_str(), value, sizeof value);
    return n < 0 ? "(none)" : std::string(value, static_cast<size_t>(n));
  }
  bool OutsideIsEmpty() { return ::rmdir((base_ + "/outside").c_str()) == 0; }

  std::string base_, root_;
  mode_t old_umask_ = 0;
  LayerTotals totals_;
  std::vector<std::string> warnings_;
  std::set<std::string> implicit_;
  std::set<std::string> whiteouts_;
  std::vector<LinkBelow> links_;
};

TEST_F(RootLayerWriterTest, WritesEverythingWithItsMetadata) {
  TarBuilder tar;
  tar.Dir("./", 0711)
      .Dir("d", 02775)
      .File("d/suid", "abc", {.mode = 04755, .uid = 1000, .gid = 1001, .mtime = 1234567890});
  tar.File("d/root", "")
      .Link("d/link", '2', "../../../../etc/passwd")
      .Link("d/hard", '1', "d/suid")
      .Link("d/hardsym", '1', "/d/link");
  tar.Node("null", '3', 1, 3).Node("fifo", '6', 0, 0);
  ASSERT_TRUE(Unpack(tar).ok()) << Unpack(tar).ToString();
  EXPECT_EQ(Stat("").st_mode & 07777, 0711u);
  EXPECT_EQ(Stat("d").st_mode & 07777, 02775u);
  EXPECT_EQ(Stat("d").st_mtime, 1'000'000'000);
  EXPECT_EQ(Stat("d/suid").st_mode & 07777, 04755u);
  EXPECT_EQ(Stat("d/suid").st_uid, 1000u);
  EXPECT_EQ(Stat("d/suid").st_gid, 1001u);
  EXPECT_EQ(Stat("d/suid").st_mtime, 1234567890);
  EXPECT_EQ(Stat("d/suid").st_nlink, 2u);
  EXPECT_EQ(Stat("d/root").st_gid, 0u);
  EXPECT_TRUE(S_ISLNK(Stat("d/hardsym").st_mode));
  EXPECT_TRUE(S_ISCHR(Stat("null").st_mode));
  EXPECT_EQ(Stat("null").st_rdev, ::makedev(1, 3));
  EXPECT_TRUE(S_ISFIFO(Stat("fifo").st_mode));
  EXPECT_EQ(totals_.size, 3u);
  EXPECT_EQ(totals_.entries, 6u);
}

TEST_F(RootLayerWriterTest, TurnsWhiteoutsIntoOverlayForm) {
  TarBuilder tar;
  tar.Dir("d")
      .File("d/.wh.gone", "")
      .File("d/.wh..wh..opq", "")
      .File(".wh.top", "")
      .File(".wh..wh.plnk", "")
      .File("x/.wh.y", "");
  // In one layer a whiteout speaks of the layers below: what the layer itself has stays.
  tar.File(".wh.again", "")
      .Dir("again")
      .File("again/new", "1")
      .Dir("kept")
      .File("kept/a", "2")
      .File(".wh.kept", "")
      .File("f", "3")
      .File(".wh.f", "");
  ASSERT_TRUE(Unpack(tar).ok());
  EXPECT_EQ(Stat("d/gone").st_mode, 0u) << "the directory hides all below: overlayfs would show the mark";
  EXPECT_TRUE(S_ISCHR(Stat("x/y").st_mode) && Stat("x/y").st_rdev == 0);
  EXPECT_TRUE(S_ISCHR(Stat("top").st_mode));
  EXPECT_EQ(Xattr("d", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(Xattr("again", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(Text("again/new"), "1");
  EXPECT_EQ(Xattr("kept", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(Text("kept/a"), "2");
  EXPECT_EQ(Text("f"), "3");
  EXPECT_EQ(Stat(".wh..wh.plnk").st_mode, 0u);
  EXPECT_EQ(implicit_, std::set<std::string>{"x"});
  EXPECT_EQ(whiteouts_, (std::set<std::string>{"", "x"}));
}

TEST_F(RootLayerWriterTest, HardLinksToLowerLayersArePlaceholders) {
  TarBuilder tar;
  tar.Link("h", '1', "a1/file").Link("again", '1', "h").Link("other", '1', "a1/other");
  tar.Link("replaced", '1', "a1/third").File("replaced", "mine").Link("to-mine", '1', "replaced");
  ASSERT_TRUE(Unpack(tar).ok());
  ASSERT_EQ(links_.size(), 2u);
  EXPECT_EQ(links_[0].target, "a1/file");
  EXPECT_EQ(links_[0].names, (std::vector<std::string>{"h", "again"}));
  EXPECT_EQ(links_[1].target, "a1/other");
  EXPECT_EQ(links_[1].names, std::vector<std::string>{"other"});
  EXPECT_EQ(Stat("h").st_ino, Stat("again").st_ino);
  EXPECT_EQ(Text("to-mine"), "mine");
  EXPECT_EQ(Stat("h").st_nlink, 2u) << "nothing else is left of it";
  TarBuilder many;
  for (size_t i = 0; i <= LayerWriter::kMaxLinksBelow; ++i) many.Link("n" + std::to_string(i), '1', "below");
  EXPECT_EQ(Unpack(many).code(), StatusCode::kResourceExhausted);
}

TEST_F(RootLayerWriterTest, RefusesEvilNames) {
  const std::function<void(TarBuilder&)> evil[] = {
      [](TarBuilder& t) { t.File("../outside/x", "evil"); },
      [](TarBuilder& t) { t.File("a/../../outside/x", "evil"); },
      [](TarBuilder& t) { t.File("/..", "evil"); },
      [](TarBuilder& t) { t.Link("h", '1', "../outside/x"); },
      [](TarBuilder& t) { t.Dir("o").File("o/.wh..wh..opq", "").Link("h", '1', "o/missing"); },
      [](TarBuilder& t) { t.File(".wh.gone", "").Link("h", '1', "gone"); },
      [](TarBuilder& t) { t.Dir("d").Link("h", '1', "d"); },
      [](TarBuilder& t) { t.File(".wh.a", "").Link("h", '1', ".wh.a"); },
      [](TarBuilder& t) { t.File(".wh.", ""); },
      [](TarBuilder& t) { t.File(".wh..", ""); },
      [](TarBuilder& t) { t.File(".wh...", ""); },
      [](TarBuilder& t) { t.File(".wh.a/b", "x"); },
      [](TarBuilder& t) { t.Dir("d/.wh.a/b"); },
      [](TarBuilder& t) { t.File("f", "x").File("f/below", "x"); },
      [](TarBuilder& t) { t.File("/", "x"); },
      [](TarBuilder& t) {
        t.File(std::string(300, 'n').substr(0, 0) + "a", "x").Link("l", '2', "gone").File("l/x", "x");
      },
      [](TarBuilder& t) { t.Pax(TarBuilder::Record("SCHILY.xattr.trusted.overlay.redirect", "/x")).Dir("d"); },
      [](TarBuilder& t) { t.Pax(TarBuilder::Record("SCHILY.xattr.user.overlay.opaque", "y")).Dir("d"); },
      [](TarBuilder& t) { t.Pax(TarBuilder::Record("path", std::string(300, 'n'))).File("x", ""); },
  };
  int n = 0;
  for (const auto& add : evil) {
    TarBuilder tar;
    add(tar);
    Status status = Unpack(tar);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << n << ": " << status.ToString();
    ASSERT_TRUE(sys::RemoveTree(root_).ok());
    ASSERT_EQ(::mkdir(root_.c_str(), 0755), 0);
    ++n;
  }
  EXPECT_TRUE(OutsideIsEmpty());
}

TEST_F(RootLayerWriterTest, SymbolicLinksNeverLeadOut) {
  TarBuilder tar;
  tar.Link("out", '2', "../outside")
      .Link("abs", '2', base_ + "/outside")
      .Dir("in")
      .Link("ok", '2', "/in")
      .Link("proc", '2', "/proc/self/root");
  tar.File("ok/file", "inside").File("/absolute", "a");
  ASSERT_TRUE(Unpack(tar).ok());
  EXPECT_EQ(Text("in/file"), "inside");
  EXPECT_EQ(Text("absolute"), "a");
  for (const char* name : {"out/x", "abs/x", "proc/tmp/x"}) {
    TarBuilder through;
    through.Link("out", '2', "../outside")
        .Link("abs", '2', base_ + "/outside")
        .Link("proc", '2', "/proc/self/root")
        .File(name, "evil");
    Status status = Unpack(through);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name << status.ToString();
  }
  // A file over a symbolic link replaces the link and does not write through it.
  ASSERT_TRUE(Unpack(TarBuilder().Link("swap", '2', base_ + "/outside/target").File("swap", "mine")).ok());
  EXPECT_EQ(Text("swap"), "mine");
  EXPECT_TRUE(S_ISREG(Stat("swap").st_mode));
  // A hard link to a symbolic link, then written to.
  ASSERT_TRUE(Unpack(TarBuilder().Link("s1", '2', base_ + "/outside/t").Link("s2", '1', "s1").File("s2", "mine")).ok());
  EXPECT_TRUE(S_ISREG(Stat("s2").st_mode));
  // A directory's metadata over a symbolic link to outside.
  ASSERT_TRUE(Unpack(TarBuilder().Link("sd", '2', base_ + "/outside").Dir("sd", 0777)).ok());
  EXPECT_TRUE(S_ISDIR(Stat("sd").st_mode));
  struct stat st {};
  ASSERT_EQ(::stat((base_ + "/outside").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  EXPECT_TRUE(OutsideIsEmpty());
}

TEST_F(RootLayerWriterTest, LaterEntriesWin) {
  TarBuilder tar;
  tar.File("a", "one").File("a", "two").Dir("d").File("d/x", "1").Dir("d", 0700).File("d/y", "2");
  tar.Dir("e").Dir("e/f").File("e/f/g", "3").File("e", "file").Link("l", '2', "a").Dir("l").File("l/in", "4");
  ASSERT_TRUE(Unpack(tar).ok());
  EXPECT_EQ(Text("a"), "two");
  EXPECT_EQ(Text("d/x"), "1");
  EXPECT_EQ(Stat("d").st_mode & 07777, 0700u);
  EXPECT_EQ(Text("e"), "file");
  EXPECT_EQ(Text("l/in"), "4");
}

TEST_F(RootLayerWriterTest, SetsAttributesThatImagesNeed) {
  // A version 2 capability set with CAP_NET_BIND_SERVICE.
  const std::string caps("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  TarBuilder tar;
  tar.Pax(TarBuilder::Record("SCHILY.xattr.security.capability", caps) +
          TarBuilder::Record("SCHILY.xattr.security.selinux", "x"));
  tar.File("f", "x", {.mode = 0755, .uid = 5});
  tar.Pax(TarBuilder::Record("SCHILY.xattr.user.a", "b")).Link("l", '2', "f");
  ASSERT_TRUE(Unpack(tar).ok());
  EXPECT_EQ(Xattr("f", "security.capability"), caps);
  EXPECT_EQ(warnings_.size(), 1u) << "user.* on a symbolic link is left out";
}

// As GNU tar writes them, which is who writes them.
TEST_F(RootLayerWriterTest, SparseFilesOfEveryFormat) {
  if (::system("tar --version 2>/dev/null | grep -q GNU") != 0) GTEST_SKIP() << "GNU tar is not installed";
  const std::string folder = base_ + "/sparse";
  ASSERT_EQ(::mkdir(folder.c_str(), 0755), 0);
  {
    // More pieces than a header and two blocks of a map have, one at the end; and one file that is a hole.
    sys::UniqueFd many = *sys::Open(folder + "/many", O_WRONLY | O_CREAT, 0640);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(::pwrite(many.get(), "data", 4, off_t{i} * 200'000), 4);
    ASSERT_EQ(::ftruncate(many.get(), 50 << 20), 0);
    sys::UniqueFd hole = *sys::Open(folder + "/hole", O_WRONLY | O_CREAT, 0640);
    ASSERT_EQ(::ftruncate(hole.get(), 3 << 20), 0);
    sys::UniqueFd full = *sys::Open(folder + "/full", O_WRONLY | O_CREAT, 0640);
    ASSERT_TRUE(sys::WriteAll(full.get(), std::string(5000, 'x')).ok());
  }
  for (const char* format :
       {"gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"}) {
    const std::string archive = base_ + "/sparse.tar";
    const std::string make =
        "tar -S --format=" + std::string(format) + " -C " + folder + " -cf " + archive + " many hole full";
    ASSERT_EQ(::system(make.c_str()), 0);
    OnePiece source(*sys::ReadFile(archive, 64 << 20));
    TarReader reader(source);
    auto writer = LayerWriter::Create(root_, "layer", {});
    ASSERT_TRUE(writer.ok());
    Status written = (*writer)->WriteAll(reader);
    ASSERT_TRUE(written.ok()) << format << ": " << written.ToString();
    EXPECT_LT((*writer)->totals().size, uint64_t{1} << 20) << "holes take no room";
    for (const char* name : {"many", "hole", "full"}) {
      const std::string compare = "cmp " + folder + "/" + name + " " + root_ + "/" + name;
      EXPECT_EQ(::system(compare.c_str()), 0) << format << " " << name;
    }
    struct stat info {};
    ASSERT_EQ(::stat((root_ + "/many").c_str(), &info), 0);
    EXPECT_LT(info.st_blocks * 512, 10 << 20) << format << ": the holes were filled";
  }
}

TEST_F(RootLayerWriterTest, StopsAtItsBudgets) {
  LayerWriterLimits limits;
  limits.max_bytes = 100;
  EXPECT_EQ(Unpack(TarBuilder().File("a", std::string(60, 'x')).File("b", std::string(60, 'x')), limits).code(),
            StatusCode::kResourceExhausted);
  limits.max_bytes = 1000;
  limits.charge = [](uint64_t) { return ResourceExhausted("image budget"); };
  EXPECT_EQ(Unpack(TarBuilder().File("c", "x"), limits).message(), "image budget");
}

TEST_F(RootLayerWriterTest, KeepsAShareOfTheFilesystemFree) {
  ASSERT_TRUE(sys::Mount("davit-test", root_, "tmpfs", 0, "size=1m,mode=755").ok());
  EXPECT_TRUE(LayerWriter::Create(root_, "layer", {}).ok()) << "a small filesystem is no reason to refuse";
  ASSERT_TRUE(sys::WriteFileAtomic(root_ + "/fill", std::string(1000 << 10, 'x'), 0600, sys::Durability::kAtomic).ok());
  Status full = LayerWriter::Create(root_, "layer", {}).status();
  EXPECT_TRUE(sys::Unmount(root_).ok());
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(full.message().find(root_), std::string::npos);
}

}  // namespace
}  // namespace davit::image
