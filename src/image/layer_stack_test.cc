#include "image/layer_stack.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "image/layer_writer.h"
#include "image/tar_builder.h"
#include "sys/mounts.h"
#include "sys/temp_dir.h"

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

// Layers as the unpacker writes them, finished on one another, seen through a real overlay. Needs root.
class RootLayerStackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "owners, device nodes and mounts need root";
    old_umask_ = ::umask(0);
    ASSERT_EQ(::mkdir(dir_.At("empty").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(dir_.At("merged").c_str(), 0755), 0);
  }
  void TearDown() override {
    if (mounted_) {
      EXPECT_TRUE(sys::Unmount(dir_.At("merged")).ok());
    }
    if (::geteuid() == 0) ::umask(old_umask_);
  }

  // Adds a layer on top.
  Status Add(const TarBuilder& tar) {
    const std::string fs = dir_.At("layer" + std::to_string(lower_.size()));
    if (::mkdir(fs.c_str(), 0755) != 0) return ErrnoError(errno, fs);
    OnePiece source(tar.Finish());
    TarReader reader(source);
    LayerWriterLimits limits;
    limits.min_free_bytes = 1 << 20;
    ASSIGN_OR_RETURN(std::unique_ptr<LayerWriter> writer, LayerWriter::Create(fs, "layer", limits));
    RETURN_IF_ERROR(writer->WriteAll(reader));
    LayerEvent event;
    event.implicit_directories = {writer->implicit_directories().begin(), writer->implicit_directories().end()};
    event.whiteout_directories = {writer->whiteout_directories().begin(), writer->whiteout_directories().end()};
    event.links_below = writer->links_below();
    depends_ = DependsOnStack(event);
    ASSIGN_OR_RETURN(growth_, FinishOnStack(fs, event, lower_, max_bytes_));
    lower_.insert(lower_.begin(), fs);
    return {};
  }
  void Mount() {
    std::vector<std::string> lower = lower_;
    lower.push_back(dir_.At("empty"));
    ASSERT_TRUE(sys::MountOverlay({lower}, dir_.At("merged")).ok());
    mounted_ = true;
  }
  struct stat Stat(const std::string& name) {
    struct stat st {};
    if (::lstat((dir_.At("merged") + "/" + name).c_str(), &st) != 0) st.st_mode = 0;
    return st;
  }
  std::string Text(const std::string& name) {
    std::ifstream in(dir_.At("merged") + "/" + name);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::string List(const std::string& name) {
    FILE* pipe = ::popen(("ls -A " + dir_.At("merged") + "/" + name + " 2>&1").c_str(), "r");
    std::string out;
    char piece[4096];
    while (size_t n = ::fread(piece, 1, sizeof piece, pipe)) out.append(piece, n);
    ::pclose(pipe);
    return out;
  }

  sys::TempDir dir_;
  std::vector<std::string> lower_;  // topmost first
  StackGrowth growth_;
  uint64_t max_bytes_ = 1 << 20;
  bool depends_ = false;
  bool mounted_ = false;
  mode_t old_umask_ = 0;
};

TEST_F(RootLayerStackTest, ALayerThatNamesAllOfItsOwnDoesNotDepend) {
  ASSERT_TRUE(Add(TarBuilder().Dir("d").File("d/x", "1").Link("d/y", '1', "d/x")).ok());
  EXPECT_FALSE(depends_);
  ASSERT_TRUE(Add(TarBuilder().Dir("d").File("d/.wh..wh..opq", "").File("d/.wh.x", "")).ok());
  EXPECT_FALSE(depends_) << "an opaque directory says nothing of what is below";
}

TEST_F(RootLayerStackTest, DirectoriesWithoutAnEntryAreThoseBelow) {
  TarBuilder base;
  base.Add("etc", '5', "", {.mode = 01777, .uid = 1000, .gid = 1001}).Dir("gone", 0700).File("file", "");
  ASSERT_TRUE(Add(base).ok());
  ASSERT_TRUE(Add(TarBuilder().File(".wh.gone", "")).ok());
  ASSERT_TRUE(Add(TarBuilder().File("etc/app.conf", "x").File("gone/x", "").File("file/x", "").File("new/x", "")).ok());
  EXPECT_TRUE(depends_);
  Mount();
  EXPECT_EQ(Stat("etc").st_mode & 07777, 01777u);
  EXPECT_EQ(Stat("etc").st_uid, 1000u);
  EXPECT_EQ(Stat("etc").st_gid, 1001u);
  EXPECT_EQ(Stat("etc").st_mtime, 1'000'000'000);
  for (const char* name : {"gone", "file", "new"}) {
    EXPECT_TRUE(S_ISDIR(Stat(name).st_mode)) << name;
    EXPECT_EQ(Stat(name).st_mode & 07777, 0755u) << name << " is not below any more, or never was";
  }
}

TEST_F(RootLayerStackTest, HardLinksReachTheLayersBelow) {
  TarBuilder base;
  base.Dir("a1", 0710).File("a1/file", "content", {.mode = 04750, .uid = 7, .gid = 8, .mtime = 1234567890});
  base.Link("a1/link", '2', "file").Dir("old").File("old/gone", "x");
  ASSERT_TRUE(Add(base).ok());
  ASSERT_TRUE(Add(TarBuilder().File("old/.wh.gone", "")).ok());
  ASSERT_TRUE(Add(TarBuilder().Link("h", '1', "a1/file").Link("h2", '1', "h").Link("l", '1', "a1/link")).ok());
  EXPECT_EQ(growth_.bytes, 7u);
  Mount();
  EXPECT_EQ(Text("h"), "content");
  EXPECT_EQ(Text("a1/file"), "content");
  for (const char* name : {"h", "h2", "a1/file"}) {
    EXPECT_EQ(Stat(name).st_ino, Stat("h").st_ino) << name;
    EXPECT_EQ(Stat(name).st_nlink, 3u) << name;
    EXPECT_EQ(Stat(name).st_mode & 07777, 04750u) << name;
    EXPECT_EQ(Stat(name).st_uid, 7u) << name;
    EXPECT_EQ(Stat(name).st_mtime, 1234567890) << name;
  }
  EXPECT_EQ(Stat("a1").st_mode & 07777, 0710u);
  EXPECT_EQ(Stat("a1").st_mtime, 1'000'000'000);
  EXPECT_TRUE(S_ISLNK(Stat("l").st_mode));
  EXPECT_EQ(List(""), "a1\nh\nh2\nl\nold\n") << "nothing of our own is left";
}

TEST_F(RootLayerStackTest, ALinkToWhatTheLayerHasReplacedOrDeleted) {
  ASSERT_TRUE(Add(TarBuilder().Dir("d").File("d/a", "below").Dir("e").File("e/b", "below")).ok());
  // Order counts: the link was to the file that was there then.
  ASSERT_TRUE(
      Add(TarBuilder().Link("h", '1', "d/a").File("d/a", "new").Link("k", '1', "e/b").File("e/.wh.b", "")).ok());
  Mount();
  EXPECT_EQ(Text("h"), "below");
  EXPECT_EQ(Text("d/a"), "new");
  EXPECT_EQ(Text("k"), "below");
  EXPECT_EQ(List("e"), "");
}

TEST_F(RootLayerStackTest, LinksThatLeadNowhereAreRefused) {
  ASSERT_TRUE(Add(TarBuilder().Dir("d").File("d/gone", "x").Link("out", '2', "/etc")).ok());
  ASSERT_TRUE(Add(TarBuilder().File("d/.wh.gone", "")).ok());
  for (const char* target : {"d/gone", "missing", "d/missing/x", "d", "out/passwd"}) {
    std::vector<std::string> before = lower_;
    Status status = Add(TarBuilder().Link("h", '1', target));
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << target << ": " << status.ToString();
    EXPECT_NE(status.message().find("\"h\""), std::string::npos) << status.ToString();
    ASSERT_TRUE(sys::RemoveTree(dir_.At("layer" + std::to_string(before.size()))).ok());
  }
  max_bytes_ = 3;
  ASSERT_TRUE(Add(TarBuilder().File("big", "four")).ok());
  EXPECT_EQ(Add(TarBuilder().Link("h", '1', "big")).code(), StatusCode::kResourceExhausted);
}

TEST_F(RootLayerStackTest, WhiteoutsOverNothingAreNothing) {
  ASSERT_TRUE(Add(TarBuilder().Dir("d").File("d/x", "").File("d/y", "").File("plain", "")).ok());
  ASSERT_TRUE(Add(TarBuilder()
                      .File("nope/none/.wh..wh..opq", "")
                      .File("nope/.wh.z", "")
                      .Dir("own")
                      .File("own/.wh.z", "")
                      .File("own/kept", "")
                      .Dir("plain")
                      .File("plain/.wh.z", "")
                      .File("d/.wh.x", "")
                      .File("d/.wh.never", ""))
                  .ok());
  Mount();
  EXPECT_EQ(List("nope"), "none\n");
  EXPECT_EQ(List("own"), "kept\n");
  EXPECT_EQ(List("plain"), "");
  EXPECT_EQ(List("d"), "y\n");
  EXPECT_EQ(Stat("own").st_mtime, 1'000'000'000) << "as the archive has it";
}

TEST_F(RootLayerStackTest, WhiteoutsOfTheBottomLayerAreNothing) {
  ASSERT_TRUE(Add(TarBuilder().File(".wh.a", "").Dir("d").File("d/.wh.b", "")).ok());
  Mount();
  EXPECT_EQ(List(""), "d\n");
  EXPECT_EQ(List("d"), "");
}

TEST(StackKeysTest, TellStacksApart) {
  auto digest = [](char c) { return *oci::Digest::Parse("sha256:" + std::string(64, c)); };
  auto ab = StackKeys({digest('a'), digest('b')});
  auto cb = StackKeys({digest('c'), digest('b')});
  ASSERT_EQ(ab.size(), 2u);
  EXPECT_NE(ab[0], digest('a')) << "the bottom one has a key too";
  EXPECT_NE(ab[1], cb[1]);
  EXPECT_EQ(StackKeys({digest('a'), digest('b'), digest('c')})[1], ab[1]) << "what is above does not count";
}

}  // namespace
}  // namespace davit::image
