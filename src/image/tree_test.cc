// TreeArchive and TreeUnpack: what goes out of a container, and what comes in.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "image/tar_builder.h"
#include "image/tar_writer.h"
#include "image/tree_archive.h"
#include "image/tree_unpack.h"
#include "image/whiteouts.h"
#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

class StringSource final : public ByteSource {
 public:
  explicit StringSource(std::string text) : text_(std::move(text)) {}
  Result<std::string_view> Next() override {
    std::string_view piece = std::string_view(text_).substr(at_, 1000);
    at_ += piece.size();
    return piece;
  }

 private:
  std::string text_;
  size_t at_ = 0;
};

// Name, type and content of each entry: "a/ 5", "a/file 0 text", "a/link 2 target".
std::vector<std::string> Listing(const std::string& tar_text) {
  StringSource source(tar_text);
  TarReader tar(source);
  std::vector<std::string> lines;
  for (;;) {
    auto entry = tar.Next();
    if (!entry.ok()) {
      lines.push_back(entry.status().ToString());
      return lines;
    }
    if (!*entry) return lines;
    std::string line = (*entry)->name;
    if ((*entry)->type == TarType::kHardLink) line += " => " + (*entry)->link_name;
    if ((*entry)->type == TarType::kSymlink) line += " -> " + (*entry)->link_name;
    for (;;) {
      auto piece = tar.Data();
      if (!piece.ok() || piece->empty()) break;
      line += " " + std::string(*piece);
    }
    lines.push_back(line);
  }
}

class TreeTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sys::MakeDirectories(At("root/dir"), 0755).ok());
    ASSERT_TRUE(sys::MakeDirectories(At("outside"), 0755).ok());
    root_ = *sys::Open(At("root"), O_PATH | O_DIRECTORY);
  }
  [[nodiscard]] std::string At(const std::string& name) const { return dir_.At(name); }
  void Put(const std::string& name, const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(At(name), text, 0644, sys::Durability::kAtomic).ok()) << name;
  }
  std::string Get(const std::string& name) { return sys::ReadFile(At(name), 1 << 20).value_or("(none)"); }
  void Link(const std::string& target, const std::string& name) {
    ASSERT_EQ(::symlink(target.c_str(), At(name).c_str()), 0);
  }

  std::string Archive(const std::string& base, const std::string& name, TreeArchive::Options options = {}) {
    std::string out;
    TarWriter tar([&](std::string_view bytes) {
      out += bytes;
      return Status();
    });
    TreeArchive archive(tar, std::move(options));
    Status status = base.empty() ? archive.AddRoot(root_.get()) : archive.Add(root_.get(), base, name);
    if (status.ok()) status = tar.Finish();
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out;
  }
  Status Unpack(const std::string& archive, const std::string& directory, TreeUnpackOptions options = {}) {
    StringSource source(archive);
    TarReader tar(source);
    options.copy_ids = options.copy_ids || ::geteuid() != 0;
    TreeUnpack unpack(root_.get(), directory, options);
    return unpack.WriteAll(tar);
  }

  sys::TempDir dir_;
  sys::UniqueFd root_;
};

// As whoever runs the test, so that owners can be set.
TarBuilder::Options Mine(const std::string& link = "") {
  TarBuilder::Options options;
  options.uid = ::geteuid();
  options.gid = ::getegid();
  options.link = link;
  return options;
}

TEST_F(TreeTest, ADirectoryGoesOutUnderItsName) {
  Put("root/dir/file", "text");
  Put("root/dir/" + std::string(150, 'n'), "long");
  ASSERT_EQ(::link(At("root/dir/file").c_str(), At("root/dir/second").c_str()), 0);
  Link("/etc/passwd", "root/dir/link");
  Link(std::string(200, 't'), "root/dir/longlink");
  ASSERT_EQ(::mkfifo(At("root/dir/fifo").c_str(), 0600), 0);
  EXPECT_EQ(Listing(Archive("dir", "dir")),
            (std::vector<std::string>{"dir/", "dir/fifo", "dir/file text", "dir/link -> /etc/passwd",
                                      "dir/longlink -> " + std::string(200, 't'),
                                      "dir/" + std::string(150, 'n') + " long", "dir/second => dir/file"}));
  EXPECT_EQ(Listing(Archive("dir", "/")).front(), "/");
  EXPECT_EQ(Listing(Archive("", "")).front(), "./");
}

TEST_F(TreeTest, WhatGoesOutComesInAgain) {
  Put("root/dir/file", "text");
  ASSERT_EQ(::chmod(At("root/dir/file").c_str(), 04750), 0);
  ASSERT_TRUE(sys::MakeDirectories(At("root/dir/sub"), 0700).ok());
  Link("file", "root/dir/link");
  ASSERT_TRUE(sys::MakeDirectories(At("root/to"), 0755).ok());
  Status status = Unpack(Archive("dir", "dir"), "/to", {.copy_ids = true});
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Get("root/to/dir/file"), "text");
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(At("root/dir/file").c_str(), &before), 0);
  ASSERT_EQ(::stat(At("root/to/dir/file").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(Listing(Archive("to", "to")).size(), 5U);
}

TEST_F(TreeTest, NamesThatLeaveTheDirectoryAreRefused) {
  Put("outside/file", "mine");
  for (const char* name : {"../outside/file", "a/../../x", "..", "/../../outside/file"}) {
    EXPECT_EQ(Unpack(TarBuilder().File(name, "evil").Finish(), "/dir").code(), StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(Unpack(TarBuilder().Link("l", '2', "/").File("l/x", "evil").Finish(), "/dir").code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Unpack(TarBuilder().Link("a", '2', "/").Link("b", '1', "a/x").Finish(), "/dir").code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Unpack(TarBuilder().Link("h", '1', "../outside/file").Finish(), "/dir").code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Get("outside/file"), "mine");
}

TEST_F(TreeTest, LinksOfTheContainerEndInItsRoot) {
  Put("outside/file", "mine");
  Link("../../outside", "root/dir/up");
  Link("/dir", "root/abs");
  Put("root/dir/target", "old");
  Link("target", "root/dir/name");
  // No such directory in this root; and what a name stands for is replaced, not followed.
  EXPECT_FALSE(Unpack(TarBuilder().File("up/file", "evil", Mine()).Finish(), "/dir").ok());
  Status status = Unpack(TarBuilder().File("name", "new", Mine()).Finish(), "/abs");
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Get("outside/file"), "mine");
  EXPECT_EQ(Get("root/dir/target"), "old");
  EXPECT_EQ(Get("root/dir/name"), "new");
}

TEST_F(TreeTest, ADirectoryReplacesAFileOnlyWhereItMay) {
  Put("root/dir/file", "old");
  ASSERT_TRUE(sys::MakeDirectories(At("root/dir/sub/below"), 0755).ok());
  const std::string over_file = TarBuilder().Dir("file").Finish();
  const std::string over_directory = TarBuilder().File("sub", "new", Mine()).Finish();
  for (const std::string& archive : {over_file, over_directory}) {
    EXPECT_EQ(Unpack(archive, "/dir", {.no_overwrite_dir_non_dir = true}).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Get("root/dir/file"), "old");
  EXPECT_TRUE(Unpack(over_directory, "/dir").ok());
  EXPECT_EQ(Get("root/dir/sub"), "new");
}

TEST_F(TreeTest, FilesReplaceWhatIsThereAndKeepOpenOnesAsTheyAre) {
  Put("root/dir/file", "old");
  auto open = sys::Open(At("root/dir/file"), O_RDONLY);
  ASSERT_TRUE(open.ok());
  ASSERT_TRUE(Unpack(TarBuilder().File("file", "new", Mine()).Finish(), "/dir").ok());
  EXPECT_EQ(Get("root/dir/file"), "new");
  EXPECT_EQ(*sys::ReadAll(open->get(), 100), "old");
}

// CVE-2018-15664: the container swaps a directory for a link to what is above its root.
TEST_F(TreeTest, ASwappedDirectoryNeverLeadsOut) {
  Put("outside/secret", "secret");
  Put("root/secret", "inside");
  Link(At("outside"), "root/evil");
  ASSERT_TRUE(sys::MakeDirectories(At("root/swap"), 0755).ok());
  Put("root/swap/secret", "inside");
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    const std::string swap = At("root/swap");
    const std::string evil = At("root/evil");
    while (!stop) ::renameat2(AT_FDCWD, swap.c_str(), AT_FDCWD, evil.c_str(), RENAME_EXCHANGE);
  });
  const std::string archive =
      TarBuilder().File("secret", "overwritten", Mine()).File("sub/secret", "x", Mine()).Finish();
  int written = 0;
  for (int round = 0; round < 500; ++round) {
    if (Unpack(archive, "/swap").ok()) ++written;
    std::string out;
    TarWriter tar([&](std::string_view bytes) {
      out += bytes;
      return Status();
    });
    TreeArchive reader(tar, {});
    IgnoreError(reader.Add(root_.get(), "swap", "swap"));
    EXPECT_EQ(out.find("secret\n"), std::string::npos);
    ASSERT_EQ(Get("outside/secret"), "secret");
    for (const std::string& line : Listing(out)) ASSERT_EQ(line.find("secret secret"), std::string::npos);
  }
  stop = true;
  swapper.join();
  EXPECT_GT(written, 0);
  EXPECT_NE(::access(At("outside/sub").c_str(), F_OK), 0);
}

using RootTreeTest = TreeTest;

TEST_F(RootTreeTest, AnUpperDirectoryBecomesALayer) {
  if (::geteuid() != 0) GTEST_SKIP() << "whiteouts need root";
  Put("root/dir/file", "text");
  Put("root/dir/.wh.odd", "x");
  Put("root/hosts", "");
  Put("root/full", "");
  ASSERT_EQ(::mknod(At("root/dir/gone").c_str(), S_IFCHR, ::makedev(0, 0)), 0);
  ASSERT_TRUE(sys::MakeDirectories(At("root/opaque"), 0755).ok());
  auto opaque = sys::Open(At("root/opaque"), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(MarkOpaque(opaque->get()).ok());
  Put("root/opaque/new", "n");
  TreeArchive::Options options;
  options.layer = true;
  options.leave_out = {"hosts"};
  EXPECT_EQ(Listing(Archive("", "", options)),
            (std::vector<std::string>{"./", "dir/", "dir/file text", "dir/.wh.gone", "full", "opaque/",
                                      "opaque/.wh..wh..opq", "opaque/new n"}));
}

TEST_F(RootTreeTest, OwnersAreThoseOfTheUserNamespace) {
  if (::geteuid() != 0) GTEST_SKIP() << "other owners need root";
  TarBuilder::Options owned;
  owned.uid = 5;
  owned.gid = 6;
  const TreeIds ids{100'000, 65'536};
  ASSERT_TRUE(Unpack(TarBuilder().File("a", "", owned).Finish(), "/dir", {.ids = ids}).ok());
  ASSERT_TRUE(Unpack(TarBuilder().File("b", "", owned).Finish(), "/dir", {.ids = ids, .copy_ids = true}).ok());
  struct stat a {
  }, b{};
  ASSERT_EQ(::stat(At("root/dir/a").c_str(), &a), 0);
  ASSERT_EQ(::stat(At("root/dir/b").c_str(), &b), 0);
  EXPECT_EQ(a.st_uid, 100'000U);
  EXPECT_EQ(b.st_uid, 100'005U);
  EXPECT_EQ(b.st_gid, 100'006U);
  EXPECT_EQ(Unpack(TarBuilder().Node("dev", '3', 1, 3).Finish(), "/dir", {.ids = ids}).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(RootTreeTest, KernelFilesystemsAreNeitherReadNorWritten) {
  if (::geteuid() != 0) GTEST_SKIP() << "opening the root needs root";
  root_ = *sys::Open("/", O_PATH | O_DIRECTORY);
  EXPECT_EQ(Unpack(TarBuilder().File("x", "1").Finish(), "/proc/sys/kernel").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Unpack(TarBuilder().File("sys/kernel/core_pattern", "1").Finish(), "/proc").code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(Listing(Archive("proc", "proc")), (std::vector<std::string>{"proc/"}));
}

}  // namespace
}  // namespace davit::image
