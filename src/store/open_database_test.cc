#include "store/open_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

namespace fs = std::filesystem;

class OpenDatabaseTest : public ::testing::Test {
 protected:
  // A root that has been used: a record, and a layer's directory.
  void SetUp() override {
    auto opened = OpenDatabase(Root());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_EQ(opened->loss, "");
    ASSERT_TRUE(opened->database->Put(Kind::kLayer, "sha256:1", "body", Durability::kDurable).ok());
    ASSERT_TRUE(sys::MakeDirectories(Root() + "/layers/1/fs", 0755).ok());
    ASSERT_TRUE(sys::MakeDirectories(Root() + "/containers/c/upper", 0755).ok());
  }
  [[nodiscard]] std::string Root() const { return dir_.At("root"); }
  [[nodiscard]] std::string File() const { return Root() + "/davit.db"; }
  // The layer's directory, wherever it is: in its place or in quarantine. 0: deleted.
  [[nodiscard]] int Layers() const {
    int found = 0;
    for (const auto& entry : fs::recursive_directory_iterator(Root())) {
      if (entry.path().filename() == "fs") ++found;
    }
    return found;
  }
  void ExpectLoss() {
    auto opened = OpenDatabase(Root());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_THAT(opened->loss, testing::HasSubstr(File()));
    EXPECT_THAT(opened->loss, testing::HasSubstr("/quarantine/"));
    EXPECT_EQ(opened->database->LoadAll(Kind::kLayer)->size(), 0u);
    EXPECT_FALSE(fs::exists(Root() + "/layers/1"));
    EXPECT_TRUE(fs::exists(Root() + "/containers/c/upper"));
    EXPECT_EQ(Layers(), 1);
    opened->database.reset();
    // Said once: the new database is whole.
    ASSERT_TRUE(sys::MakeDirectories(Root() + "/layers", 0700).ok());
    EXPECT_EQ(OpenDatabase(Root())->loss, "");
  }
  sys::TempDir dir_;
};

TEST_F(OpenDatabaseTest, AWholeOneIsOpenedAsItIs) {
  auto opened = OpenDatabase(Root());
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->loss, "");
  EXPECT_EQ(opened->database->Get(Kind::kLayer, "sha256:1").value_or(""), "body");
  EXPECT_TRUE(fs::exists(Root() + "/layers/1/fs"));
}

TEST_F(OpenDatabaseTest, AMissingOneIsALossAndDeletesNothing) {
  fs::remove(File());
  ExpectLoss();
}

TEST_F(OpenDatabaseTest, AnEmptyOneIsALoss) {
  fs::resize_file(File(), 0);
  ExpectLoss();
}

TEST_F(OpenDatabaseTest, ATruncatedOneIsALossOrHasEveryRecord) {
  const auto size = fs::file_size(File());
  const std::string copy = dir_.At("copy");
  fs::copy(Root(), copy, fs::copy_options::recursive);
  for (uintmax_t length = 1; length < size; length += 509) {
    fs::remove_all(Root());
    fs::copy(copy, Root(), fs::copy_options::recursive);
    fs::resize_file(File(), length);
    auto opened = OpenDatabase(Root());
    ASSERT_TRUE(opened.ok()) << length << ": " << opened.status().ToString();
    bool whole = opened->database->Get(Kind::kLayer, "sha256:1").value_or("") == "body";
    EXPECT_NE(whole, !opened->loss.empty()) << length;
    EXPECT_EQ(Layers(), 1) << length;
  }
}

TEST_F(OpenDatabaseTest, AFileThatIsNoDatabaseIsSetAsideWhole) {
  const std::string text(8192, 'x');
  std::ofstream(File(), std::ios::trunc) << text;
  ExpectLoss();
  bool kept = false;
  for (const auto& entry : fs::recursive_directory_iterator(Root() + "/quarantine")) {
    kept = kept || sys::ReadFile(entry.path().string(), 1 << 20).value_or("") == text;
  }
  EXPECT_TRUE(kept);
}

}  // namespace
}  // namespace davit::store
