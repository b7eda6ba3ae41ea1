#include "store/content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "store/test_dir.h"
#include "sys/mounts.h"

namespace davit::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// printf hello | sha256sum
constexpr std::string_view kHelloHash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

oci::Digest Hello() { return oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, kHelloHash).value(); }

class ContentTest : public ::testing::Test {
 protected:
  TestDir dir_;
  std::string file_ = dir_ / ("content/sha256/" + std::string(kHelloHash));
};

TEST_F(ContentTest, KeepsBlobsAcrossOpening) {
  {
    ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
    EXPECT_FALSE(content->Has(Hello()));
    ASSERT_OK(content->Put(Hello(), "hello"));
    ASSERT_OK(content->Put(Hello(), "hello"));
  }
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  EXPECT_TRUE(content->Has(Hello()));
  EXPECT_EQ(content->Get(Hello()).value_or(""), "hello");
  ASSERT_OK_AND_ASSIGN(std::vector<oci::Digest> digests, content->List());
  EXPECT_THAT(digests, ElementsAre(Hello()));
  EXPECT_EQ(content->Usage(), (DiskUsage{5, 1}));
  EXPECT_EQ(ModeOf(file_), 0600u);
}

TEST_F(ContentTest, KnowsSha512) {
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  // printf hello | sha512sum
  ASSERT_OK_AND_ASSIGN(oci::Digest digest,
                       oci::Digest::Parse("sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
                                          "2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043"));
  ASSERT_OK(content->Put(digest, "hello"));
  EXPECT_EQ(content->Get(digest).value_or(""), "hello");
}

TEST_F(ContentTest, RefusesOtherBytes) {
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  Status put = content->Put(Hello(), "hallo");
  EXPECT_EQ(put.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(put.message(), HasSubstr(std::string(kHelloHash)));
  EXPECT_FALSE(Exists(file_));
  EXPECT_EQ(content->Put(Hello(), std::string(Content::kMaxBlobBytes + 1, 'x')).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(content->Put(oci::Digest(), "hello").code(), StatusCode::kInvalidArgument);
}

TEST_F(ContentTest, DamagedBlobIsReportedOnceAndGone) {
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  ASSERT_OK(content->Put(Hello(), "hello"));
  WriteText(file_, "hellp");
  EXPECT_EQ(content->Get(Hello()).code(), StatusCode::kDataLoss);
  EXPECT_FALSE(Exists(file_));
  EXPECT_EQ(content->Get(Hello()).code(), StatusCode::kNotFound);
  EXPECT_FALSE(content->Has(Hello()));
  ASSERT_OK(content->Put(Hello(), "hello"));
  EXPECT_EQ(content->Get(Hello()).value_or(""), "hello");
}

TEST_F(ContentTest, PutRepairsADamagedBlob) {
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  ASSERT_OK(content->Put(Hello(), "hello"));
  WriteText(file_, "");
  ASSERT_OK(content->Put(Hello(), "hello"));
  EXPECT_EQ(content->Get(Hello()).value_or(""), "hello");
}

TEST_F(ContentTest, RemoveIsIdempotent) {
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  ASSERT_OK(content->Put(Hello(), "hello"));
  ASSERT_OK(content->Remove(Hello()));
  ASSERT_OK(content->Remove(Hello()));
  ASSERT_OK_AND_ASSIGN(std::vector<oci::Digest> digests, content->List());
  EXPECT_THAT(digests, IsEmpty());
  EXPECT_EQ(content->Usage(), DiskUsage{});
}

TEST_F(ContentTest, OpenRemovesTheLeftOversOfInterruptedWrites) {
  { ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path())); }
  WriteText(dir_ / "content/sha256/.half-written", "hel");
  ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir_.path()));
  EXPECT_FALSE(Exists(dir_ / "content/sha256/.half-written"));
}

// Needs root: mounts a filesystem of one MiB to fill.
TEST(RootContentTest, FullDiskIsReportedAndLeavesNoHalfBlob) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a small tmpfs needs root";
  TestDir dir;
  ASSERT_OK(sys::Mount("tmpfs", dir.path(), "tmpfs", 0, "size=1m"));
  {
    ASSERT_OK_AND_ASSIGN(auto content, Content::Open(dir.path()));
    // head -c 2000000 /dev/zero | sha256sum
    ASSERT_OK_AND_ASSIGN(oci::Digest digest,
                         oci::Digest::Parse("sha256:13aea96040f2133033d103008d5d96cfe98b3361f7202d77bea97b2424a7a6cd"));
    Status put = content->Put(digest, std::string(2'000'000, '\0'));
    EXPECT_EQ(put.code(), StatusCode::kResourceExhausted) << put.ToString();
    EXPECT_EQ(content->Get(digest).code(), StatusCode::kNotFound);
    EXPECT_EQ(content->Usage(), DiskUsage{});
    EXPECT_TRUE(content->Put(Hello(), "hello").ok());
  }
  EXPECT_TRUE(sys::Unmount(dir.path()).ok());
}

}  // namespace
}  // namespace davit::store
