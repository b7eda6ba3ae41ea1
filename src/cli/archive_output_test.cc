#include "cli/archive_output.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "sys/temp_dir.h"

namespace davit::cli {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(ArchiveOutputTest, ATarIsThereWholeOrNotAtAll) {
  sys::TempDir dir;
  const std::string path = dir.At("images.tar");
  {
    auto tar = MakeTarOutput(path);
    ASSERT_TRUE(tar.ok());
    ASSERT_TRUE((*tar)->Begin("blobs/sha256/a", 3).ok());
    ASSERT_TRUE((*tar)->Write("ab").ok());
    EXPECT_EQ((*tar)->Begin("next", 0).code(), StatusCode::kDataLoss);
    EXPECT_EQ((*tar)->Write("cd").code(), StatusCode::kDataLoss);
    EXPECT_EQ((*tar)->Finish().code(), StatusCode::kDataLoss);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  auto tar = MakeTarOutput(path);
  ASSERT_TRUE(tar.ok());
  ASSERT_TRUE((*tar)->Begin("blobs/sha256/a", 3).ok());
  ASSERT_TRUE((*tar)->Write("abc").ok());
  ASSERT_TRUE((*tar)->Begin("empty", 0).ok());
  ASSERT_TRUE((*tar)->Finish().ok());
  EXPECT_EQ(ReadText(path), TarHeader("blobs/sha256/a", 3) + "abc" + std::string(509, '\0') + TarHeader("empty", 0) +
                                std::string(1024, '\0'));
}

TEST(ArchiveOutputTest, SizesOverEightGibibytesAreInBase256) {
  const std::string header = TarHeader("large", (uint64_t{1} << 33) + 5);
  EXPECT_EQ(header.substr(124, 12), std::string("\x80\0\0\0\0\0\0\x02\0\0\0\x05", 12));
  EXPECT_EQ(TarHeader("large", (uint64_t{1} << 33) - 1).substr(124, 11), "77777777777");
}

TEST(ArchiveOutputTest, ADirectoryIsNewOrEmptyAndGoesUnlessItIsWhole) {
  sys::TempDir dir;
  const std::string path = dir.At("layout");
  for (bool finish : {false, true}) {
    auto out = MakeDirectoryOutput(path);
    ASSERT_TRUE(out.ok());
    ASSERT_TRUE((*out)->Begin("blobs/sha256/a", 1).ok());
    ASSERT_TRUE((*out)->Write("x").ok());
    ASSERT_TRUE((*out)->Begin("blobs/sha256/b", 0).ok());
    if (finish) {
      ASSERT_TRUE((*out)->Finish().ok());
    }
    out->reset();
    EXPECT_EQ(std::filesystem::exists(path), finish);
  }
  EXPECT_EQ(ReadText(path + "/blobs/sha256/a"), "x");
  EXPECT_EQ(MakeDirectoryOutput(path).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeTarOutput(path).code(), StatusCode::kInvalidArgument);
}

TEST(ArchiveOutputTest, NoPathLeadsOut) {
  sys::TempDir dir;
  auto out = MakeDirectoryOutput(dir.At("layout"));
  ASSERT_TRUE(out.ok());
  for (const char* path : {"", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "a/"}) {
    EXPECT_EQ((*out)->Begin(path, 0).code(), StatusCode::kInvalidArgument) << path;
  }
}

}  // namespace
}  // namespace davit::cli
