#include "store/layer_check.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/test_dir.h"
#include "sys/atomic_file.h"

namespace davit::store {
namespace {

using ::testing::HasSubstr;

bool Always(uint64_t) { return true; }

class LayerCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(database_, Database::Open(dir_ / "davit.db"));
    ASSERT_OK_AND_ASSIGN(trash_, Trash::Open(dir_.path()));
    ASSERT_OK_AND_ASSIGN(layers_, DirectoryLayers::Open(dir_.path(), *database_, *trash_));
    ASSERT_OK_AND_ASSIGN(LayerStaging staging, layers_->Begin(id_));
    ASSERT_OK(sys::MakeDirectories(staging.fs() + "/etc/deep", 0755));
    ASSERT_OK(sys::MakeDirectories(staging.fs() + "/empty", 0755));
    WriteText(staging.fs() + "/etc/passwd", "root");
    WriteText(staging.fs() + "/etc/deep/odd\n%name", "odd");
    WriteText(staging.fs() + "/big", std::string(3 << 20, 'b'));
    ASSERT_EQ(::symlink("etc/passwd", (staging.fs() + "/link").c_str()), 0);
    ASSERT_EQ(::link((staging.fs() + "/big").c_str(), (staging.fs() + "/hard").c_str()), 0);
    ASSERT_EQ(::mkfifo((staging.fs() + "/fifo").c_str(), 0600), 0);
    ASSERT_OK(layers_->Commit(std::move(staging), {}));
  }

  Layer Get() { return *layers_->Find(id_); }
  std::string At(const std::string& path) { return Get().path + "/" + path; }
  std::string List() { return Get().path + "/../checksums"; }
  void MakeList() {
    ASSERT_OK_AND_ASSIGN(LayerFindings made, CountVerifier().Verify(Get(), Always));
    ASSERT_EQ(made.damages, 0U);
    ASSERT_TRUE(Exists(List()));
  }
  // "path: what" of each damage.
  std::vector<std::string> Check() {
    Result<LayerFindings> found = ChecksumVerifier().Verify(Get(), Always);
    if (!found.ok()) return {found.status().ToString()};
    EXPECT_EQ(found->method, "checksums");
    EXPECT_EQ(found->damages, found->damaged.size());
    std::vector<std::string> out;
    for (const LayerDamage& damage : found->damaged) out.push_back(damage.path + ": " + damage.what);
    return out;
  }
  // Content changes, and nothing else.
  void Flip(const std::string& path) {
    struct stat before {};
    ASSERT_EQ(::stat(path.c_str(), &before), 0);
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(before.st_size / 2);
      file.put('!');
    }
    timespec times[2] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }

  const oci::Digest id_ = *oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, std::string(64, 'a'));
  TestDir dir_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<DirectoryLayers> layers_;
};

TEST_F(LayerCheckTest, WithoutAListTheRecordDecidesAndTheListIsMade) {
  EXPECT_EQ(ChecksumVerifier().Verify(Get(), Always).code(), StatusCode::kNotFound);
  MakeList();
  EXPECT_THAT(Check(), testing::IsEmpty());
  ASSERT_OK_AND_ASSIGN(LayerFindings found, ChecksumVerifier().Verify(Get(), Always));
  EXPECT_EQ(found.entries, 10U) << "the root, three directories, six names";
  EXPECT_EQ(found.bytes, (3U << 20) + 7) << "a file with two names is read once";
}

TEST_F(LayerCheckTest, TheRecordSeesWhatIsGoneAddedOrCut) {
  std::filesystem::remove(At("etc/passwd"));
  ASSERT_OK_AND_ASSIGN(LayerFindings gone, CountVerifier().Verify(Get(), Always));
  EXPECT_EQ(gone.damages, 2U) << "inodes and bytes";
  WriteText(At("etc/other"), "r00t");
  ASSERT_OK_AND_ASSIGN(LayerFindings same, CountVerifier().Verify(Get(), Always));
  EXPECT_EQ(same.damages, 0U) << "which is why there is a list";
  ::unlink(List().c_str());
  ASSERT_EQ(::truncate(At("etc/other").c_str(), 1), 0);
  ASSERT_OK_AND_ASSIGN(LayerFindings cut, CountVerifier().Verify(Get(), Always));
  EXPECT_EQ(cut.damages, 1U);
  EXPECT_FALSE(Exists(List()));
  std::filesystem::remove_all(Get().path);
  ASSERT_OK_AND_ASSIGN(LayerFindings missing, CountVerifier().Verify(Get(), Always));
  EXPECT_GE(missing.damages, 1U);
}

TEST_F(LayerCheckTest, TheListSeesEachKindOfDamage) {
  MakeList();
  Flip(At("etc/passwd"));
  EXPECT_THAT(Check(), testing::ElementsAre("etc/passwd: its content or metadata differ"));
  ASSERT_EQ(::chmod(At("etc/deep").c_str(), 0700), 0);
  EXPECT_THAT(Check(), testing::Contains("etc/deep: its metadata differ"));
  WriteText(At("etc/zz-more"), "");
  WriteText(At("etc/aa-more"), "");
  EXPECT_THAT(Check(), testing::Contains("etc/zz-more: it is not of the layer"));
  EXPECT_THAT(Check(), testing::Contains("etc/aa-more: it is not of the layer"));
  std::filesystem::remove_all(At("etc/deep"));
  EXPECT_THAT(Check(), testing::Contains("etc/deep: it is missing"));
  ::unlink(At("link").c_str());
  ASSERT_EQ(::symlink("etc/shadow", At("link").c_str()), 0);
  EXPECT_THAT(Check(), testing::Contains("link: its content or metadata differ"));
  ::unlink(At("hard").c_str());
  WriteText(At("hard"), std::string(3 << 20, 'b'));
  EXPECT_THAT(Check(), testing::Contains("hard: its content or metadata differ")) << "no hard link any more";
  std::filesystem::remove(At("empty"));
  WriteText(At("empty"), "");
  EXPECT_THAT(Check(), testing::Contains("empty: its content or metadata differ")) << "a file in place of a directory";
  ASSERT_EQ(::chmod(Get().path.c_str(), 0711), 0);
  EXPECT_THAT(Check(), testing::Contains("/: its metadata differ")) << "the root itself";
}

TEST_F(LayerCheckTest, AttributesCount) {
  if (::setxattr(At("etc/passwd").c_str(), "user.before", "1", 1, 0) != 0) GTEST_SKIP() << "no attributes here";
  MakeList();
  EXPECT_THAT(Check(), testing::IsEmpty());
  ASSERT_EQ(::setxattr(At("etc/passwd").c_str(), "user.before", "2", 1, 0), 0);
  EXPECT_THAT(Check(), testing::ElementsAre("etc/passwd: its content or metadata differ"));
}

TEST_F(LayerCheckTest, ADamagedListIsDamage) {
  MakeList();
  Flip(List());
  ASSERT_EQ(Check().size(), 1U);
  EXPECT_THAT(Check()[0], HasSubstr("list of checksums"));
  ASSERT_EQ(::truncate(List().c_str(), 30), 0);
  EXPECT_THAT(Check()[0], HasSubstr("list of checksums"));
  ASSERT_EQ(::truncate(List().c_str(), 0), 0);
  EXPECT_THAT(Check()[0], HasSubstr("list of checksums"));
  // Many are named up to a bound, and all are counted.
  ::unlink(List().c_str());
  for (int i = 0; i < 30; ++i) WriteText(At("empty/" + std::to_string(i)), "");
  LayerFindings made;
  ASSERT_OK(WriteChecksums(Get(), Always, made));
  for (int i = 0; i < 30; ++i) ::unlink(At("empty/" + std::to_string(i)).c_str());
  ASSERT_OK_AND_ASSIGN(LayerFindings found, ChecksumVerifier().Verify(Get(), Always));
  EXPECT_EQ(found.damaged.size(), LayerFindings::kMaxNamed);
  EXPECT_EQ(found.damages, 31U) << "and the directory, whose time is another";
}

TEST_F(LayerCheckTest, ACancelledCheckLeavesNothing) {
  int calls = 0;
  auto third = [&](uint64_t) { return ++calls < 3; };
  EXPECT_EQ(CountVerifier().Verify(Get(), third).code(), StatusCode::kCancelled);
  EXPECT_FALSE(Exists(List()));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(Get().path + "/.."), {}), 1);
  MakeList();
  calls = 0;
  EXPECT_EQ(ChecksumVerifier().Verify(Get(), third).code(), StatusCode::kCancelled);
}

TEST_F(LayerCheckTest, ADamagedLayerInUseIsMarkedUntilItIsAskedFor) {
  EXPECT_EQ(layers_->Damaged(id_), std::nullopt);
  ASSERT_OK(layers_->MarkDamaged(id_, "a file is missing"));
  layers_.reset();
  ASSERT_OK_AND_ASSIGN(layers_, DirectoryLayers::Open(dir_.path(), *database_, *trash_));
  ASSERT_OK(layers_->Recover().status());
  EXPECT_EQ(layers_->Damaged(id_), "a file is missing");
  EXPECT_TRUE(layers_->Has(id_)) << "what runs from it goes on";
  EXPECT_FALSE(layers_->Check(id_)) << "a pull fetches it again";
  EXPECT_FALSE(layers_->Has(id_));
  EXPECT_EQ(layers_->Damaged(id_), std::nullopt);
  EXPECT_EQ(layers_->Usage(), DiskUsage{});
  EXPECT_TRUE(
      Exists((std::filesystem::directory_iterator(dir_ / "quarantine")->path() / id_.hex() / "fs/big").string()));
  EXPECT_EQ(layers_->SetAside(id_).code(), StatusCode::kNotFound);
  ASSERT_OK_AND_ASSIGN(std::vector<Record> intents, database_->LoadAll(Kind::kIntent));
  EXPECT_TRUE(intents.empty());
}

}  // namespace
}  // namespace davit::store
