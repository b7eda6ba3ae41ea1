#include "store/open_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

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
    auto opened = OpenDatabase(Root(), State());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    EXPECT_EQ(opened->loss, "");
    ASSERT_TRUE(opened->database->Put(Kind::kLayer, "sha256:1", "body", Durability::kDurable).ok());
    ASSERT_TRUE(sys::MakeDirectories(Root() + "/layers/1/fs", 0755).ok());
    ASSERT_TRUE(sys::MakeDirectories(Root() + "/containers/c/upper", 0755).ok());
    opened->database.reset();
    fs::remove_all(Root() + "/records");  // made by a release that kept no copies
  }
  [[nodiscard]] std::string State() const { return dir_.At("state"); }
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
    auto opened = OpenDatabase(Root(), State());
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
    EXPECT_EQ(OpenDatabase(Root(), State())->loss, "");
  }
  sys::TempDir dir_;
};

TEST_F(OpenDatabaseTest, AWholeOneIsOpenedAsItIs) {
  auto opened = OpenDatabase(Root(), State());
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
    auto opened = OpenDatabase(Root(), State());
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

// A root whose records have copies, as SIGKILL leaves it: the log has not been moved into the file.
class CopiedDatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = OpenDatabase(Live() + "/root", Live() + "/state");
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    Database& database = *opened->database;
    for (int i = 0; i < 8; ++i) {
      const std::string n = std::to_string(i);
      for (auto [kind, id] : {std::pair(Kind::kPod, "pod" + n), std::pair(Kind::kContainer, "container" + n),
                              std::pair(Kind::kImage, "sha256:1" + n), std::pair(Kind::kLayer, "sha256:2" + n)}) {
        ASSERT_TRUE(database.Put(kind, id, "first", Durability::kAtomic).ok());
        ASSERT_TRUE(database.Put(kind, id, std::string(500, 'x') + n, Durability::kDurable).ok());
        const bool kept = i < 7;
        ASSERT_TRUE(kept || database.Delete(kind, id, Durability::kDurable).ok());
      }
      ASSERT_TRUE(sys::MakeDirectories(Live() + "/root/layers/2" + n + "/fs", 0755).ok());
    }
    expected_ = Records(database);
    ASSERT_EQ(expected_.size(), 28u);
    fs::copy(Live(), Killed(), fs::copy_options::recursive);
    fs::remove_all(Live() + "/root/layers/27");
    fs::remove_all(Killed() + "/root/layers/27");
  }
  static std::vector<std::string> Records(const Database& database) {
    std::vector<std::string> all;
    for (Kind kind : {Kind::kPod, Kind::kContainer, Kind::kImage, Kind::kLayer}) {
      const auto records = database.LoadAll(kind);
      if (!records.ok()) return {records.status().ToString()};
      for (const Record& record : *records) {
        // Its deletion may be what was lost.
        if (!record.id.ends_with("7")) all.push_back(std::string(KindName(kind)) + record.id + record.body);
      }
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  [[nodiscard]] std::string Live() const { return dir_.At("live"); }
  [[nodiscard]] std::string Killed() const { return dir_.At("killed"); }
  [[nodiscard]] std::string Root() const { return dir_.At("try/root"); }
  void Restore() const {
    fs::remove_all(dir_.At("try"));
    fs::copy(Killed(), dir_.At("try"), fs::copy_options::recursive);
  }
  // What davitd keeps of records: relative paths of the files.
  [[nodiscard]] std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(Killed())) {
      if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), Killed()).string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  void ExpectAll(const std::string& what) const {
    auto opened = OpenDatabase(Root(), dir_.At("try/state"));
    ASSERT_TRUE(opened.ok()) << what << ": " << opened.status().ToString();
    EXPECT_EQ(Records(*opened->database), expected_) << what << ": " << opened->loss;
    for (int i = 0; i < 7; ++i) EXPECT_TRUE(fs::exists(Root() + "/layers/2" + std::to_string(i) + "/fs")) << what;
  }
  sys::TempDir dir_;
  std::vector<std::string> expected_;
};

TEST_F(CopiedDatabaseTest, NothingIsLostAndNothingSaidWithoutADamage) {
  Restore();
  auto opened = OpenDatabase(Root(), dir_.At("try/state"));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->loss, "");
  EXPECT_EQ(Records(*opened->database), expected_);
}

TEST_F(CopiedDatabaseTest, EveryFileMovedAwayCostsNoRecord) {
  for (const std::string& file : Files()) {
    Restore();
    fs::remove(dir_.At("try/" + file));
    ExpectAll(file);
  }
  Restore();
  for (const char* name : {"davit.db", "davit.db-wal", "davit.db-shm"}) fs::remove(Root() + "/" + name);
  auto opened = OpenDatabase(Root(), dir_.At("try/state"));
  ASSERT_TRUE(opened.ok());
  EXPECT_THAT(opened->loss, testing::HasSubstr("is gone or empty and was made again"));
  EXPECT_EQ(Records(*opened->database), expected_);
}

TEST_F(CopiedDatabaseTest, ALostLogIsSaid) {
  Restore();
  fs::remove(Root() + "/davit.db-wal");
  auto opened = OpenDatabase(Root(), dir_.At("try/state"));
  ASSERT_TRUE(opened.ok());
  EXPECT_THAT(opened->loss, testing::HasSubstr("7 container record(s) that it had lost were taken from their copies"));
}

TEST_F(CopiedDatabaseTest, TruncationsAndFlippedBitsCostNoRecord) {
  std::mt19937 random(8);  // the same ones each time
  for (const std::string& file : Files()) {
    const bool copy = file.find("davit.db") == std::string::npos;
    const auto size = fs::file_size(Killed() + "/" + file);
    if (size == 0) continue;
    for (int i = 0; i < (copy ? 4 : 120); ++i) {
      const auto at = std::uniform_int_distribution<uintmax_t>(0, size - 1)(random);
      Restore();
      const std::string path = dir_.At("try/" + file);
      if (i % 4 == 0) {
        fs::resize_file(path, at);
      } else {
        std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
        bytes.seekg(static_cast<std::streamoff>(at));
        const char flipped = static_cast<char>(bytes.get() ^ (1 << (i % 8)));
        bytes.seekp(static_cast<std::streamoff>(at));
        bytes.put(flipped);
      }
      ExpectAll(file + (i % 4 == 0 ? " cut at " : " flipped at ") + std::to_string(at));
    }
  }
}

TEST_F(CopiedDatabaseTest, EveryBitOfTheDatabasesHeaderMayFlip) {
  {
    auto closed = OpenDatabase(Killed() + "/root", Killed() + "/state");  // moves the log into the file
    ASSERT_TRUE(closed.ok());
  }
  for (size_t bit = 0; bit < size_t{100} * 8; ++bit) {
    Restore();
    std::fstream bytes(Root() + "/davit.db", std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekg(static_cast<std::streamoff>(bit / 8));
    const char flipped = static_cast<char>(bytes.get() ^ (1 << (bit % 8)));
    bytes.seekp(static_cast<std::streamoff>(bit / 8));
    bytes.put(flipped);
    bytes.close();
    ExpectAll("bit " + std::to_string(bit));
  }
}

TEST_F(CopiedDatabaseTest, AFlippedBitInsideABodyIsFound) {
  {
    auto closed = OpenDatabase(Killed() + "/root", Killed() + "/state");
    ASSERT_TRUE(closed.ok());
  }
  Restore();
  std::string text = sys::ReadFile(Root() + "/davit.db", 1 << 20).value();
  const size_t at = text.find(std::string(500, 'x'));
  ASSERT_NE(at, std::string::npos);
  text[at + 100] = 'y';
  std::ofstream(Root() + "/davit.db", std::ios::trunc | std::ios::binary) << text;
  auto opened = OpenDatabase(Root(), dir_.At("try/state"));
  ASSERT_TRUE(opened.ok());
  EXPECT_THAT(opened->loss, testing::HasSubstr("1 "));
  EXPECT_EQ(Records(*opened->database), expected_);
}

}  // namespace
}  // namespace davit::store
