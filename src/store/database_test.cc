#include "store/database.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "store/test_dir.h"
#include "sys/mounts.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What another program, or another release, did to the file.
void RunSql(const std::string& path, const std::string& sql) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &handle), SQLITE_OK);
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << (error ? error : "");
  sqlite3_free(error);
  sqlite3_close(handle);
}

class DatabaseTest : public ::testing::Test {
 protected:
  TestDir dir_;
  std::string path_ = dir_ / "state/davit.db";
};

TEST_F(DatabaseTest, KeepsRecordsByKindAcrossOpening) {
  {
    ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
    ASSERT_OK(database->Put(Kind::kPod, "a", "pod a", Durability::kAtomic));
    ASSERT_OK(database->Put(Kind::kImage, "a", "image a", Durability::kDurable));
  }
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  EXPECT_EQ(database->Get(Kind::kPod, "a").value_or(""), "pod a");
  EXPECT_EQ(database->Get(Kind::kImage, "a").value_or(""), "image a");
  EXPECT_EQ(database->Get(Kind::kLayer, "a").code(), StatusCode::kNotFound);
}

TEST_F(DatabaseTest, ListsInTheOrderOfFirstPut) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  for (const char* id : {"c", "a", "b"}) ASSERT_OK(database->Put(Kind::kContainer, id, id, Durability::kAtomic));
  ASSERT_OK(database->Put(Kind::kContainer, "c", "changed", Durability::kAtomic));
  ASSERT_OK_AND_ASSIGN(std::vector<Record> records, database->LoadAll(Kind::kContainer));
  EXPECT_THAT(records, ElementsAre(Record{"c", "changed"}, Record{"a", "a"}, Record{"b", "b"}));
}

TEST_F(DatabaseTest, BodiesAreBytes) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  std::string body("\0\xff\n\0", 4);
  ASSERT_OK(database->Put(Kind::kPod, "bytes", body, Durability::kAtomic));
  ASSERT_OK(database->Put(Kind::kPod, "empty", {}, Durability::kAtomic));
  EXPECT_EQ(database->Get(Kind::kPod, "bytes").value_or(""), body);
  EXPECT_EQ(database->Get(Kind::kPod, "empty").value_or("x"), "");
}

TEST_F(DatabaseTest, DeletingWhatIsNotThereIsOk) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  ASSERT_OK(database->Put(Kind::kIntent, "a", "1", Durability::kAtomic));
  ASSERT_OK(database->Delete(Kind::kIntent, "a", Durability::kAtomic));
  ASSERT_OK(database->Delete(Kind::kIntent, "a", Durability::kDurable));
  ASSERT_OK_AND_ASSIGN(std::vector<Record> records, database->LoadAll(Kind::kIntent));
  EXPECT_THAT(records, IsEmpty());
}

TEST_F(DatabaseTest, BatchAppliesAllChangesOrNone) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  ASSERT_OK(database->Put(Kind::kIntent, "p", "intent", Durability::kAtomic));
  Batch batch;
  batch.Put(Kind::kPod, "p", "pod");
  batch.Delete(Kind::kIntent, "p");
  ASSERT_OK(database->Apply(batch, Durability::kAtomic));
  EXPECT_EQ(database->Get(Kind::kPod, "p").value_or(""), "pod");
  EXPECT_EQ(database->Get(Kind::kIntent, "p").code(), StatusCode::kNotFound);

  Batch bad;
  bad.Put(Kind::kPod, "q", "pod");
  bad.Put(Kind::kPod, "", "no id");
  EXPECT_EQ(database->Apply(bad, Durability::kAtomic).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(database->Get(Kind::kPod, "q").code(), StatusCode::kNotFound);
  EXPECT_TRUE(database->Apply(Batch(), Durability::kDurable).ok());
}

TEST_F(DatabaseTest, RefusesWhatIsTooLong) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  std::string id(Database::kMaxIdBytes + 1, 'x');
  std::string body(Database::kMaxBodyBytes + 1, 'x');
  EXPECT_EQ(database->Put(Kind::kPod, id, "", Durability::kAtomic).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(database->Put(Kind::kPod, "a", body, Durability::kAtomic).code(), StatusCode::kInvalidArgument);
}

TEST_F(DatabaseTest, IsPrivateToItsUser) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  ASSERT_OK(database->Put(Kind::kPod, "a", "secret", Durability::kAtomic));
  EXPECT_EQ(ModeOf(dir_ / "state"), 0700u);
  for (const char* suffix : {"", "-wal", "-shm", ".lock"}) EXPECT_EQ(ModeOf(path_ + suffix), 0600u) << suffix;
}

TEST_F(DatabaseTest, SecondOpenerIsRefused) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  Result<std::unique_ptr<Database>> second = Database::Open(path_);
  EXPECT_EQ(second.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.status().message(), HasSubstr("in use by another process"));
}

TEST_F(DatabaseTest, NewerSchemaIsRefusedAndLeftAlone) {
  { ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_)); }
  RunSql(path_, "PRAGMA user_version=" + std::to_string(Database::kSchemaVersion + 1));
  for (int attempt = 0; attempt < 2; ++attempt) {
    Result<std::unique_ptr<Database>> opened = Database::Open(path_);
    EXPECT_EQ(opened.code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(opened.status().message(), HasSubstr("newer release"));
    EXPECT_THAT(opened.status().message(), HasSubstr(path_));
  }
}

TEST_F(DatabaseTest, ForeignDatabaseIsRefused) {
  ASSERT_OK(sys::MakeDirectories(dir_ / "state", 0700));
  RunSql(path_, "CREATE TABLE songs(name)");
  Result<std::unique_ptr<Database>> opened = Database::Open(path_);
  EXPECT_EQ(opened.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(opened.status().message(), HasSubstr("another program"));
}

TEST_F(DatabaseTest, EmptyFileOfAnInterruptedCreationIsUsed) {
  ASSERT_OK(sys::MakeDirectories(dir_ / "state", 0700));
  WriteText(path_, "");
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  ASSERT_OK(database->Put(Kind::kPod, "a", "b", Durability::kDurable));
}

TEST_F(DatabaseTest, GarbageIsReportedAndKept) {
  ASSERT_OK(sys::MakeDirectories(dir_ / "state", 0700));
  std::string garbage(8192, 'z');
  WriteText(path_, garbage);
  Result<std::unique_ptr<Database>> opened = Database::Open(path_);
  EXPECT_EQ(opened.code(), StatusCode::kDataLoss);
  EXPECT_THAT(opened.status().message(), HasSubstr(path_));
  EXPECT_THAT(opened.status().message(), HasSubstr("move it"));
  EXPECT_EQ(ReadText(path_), garbage);
}

TEST_F(DatabaseTest, DamageInTheMiddleIsReportedAtOpening) {
  {
    ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
    for (int i = 0; i < 200; ++i) {
      ASSERT_OK(database->Put(Kind::kPod, "pod" + std::to_string(i), std::string(2000, 'p'), Durability::kAtomic));
    }
  }  // the last close moves the log into the file
  std::string bytes = ReadText(path_);
  ASSERT_GT(bytes.size(), 100'000u);
  bytes.replace(4096, 8192, 8192, '\x5a');
  WriteText(path_, bytes);
  Result<std::unique_ptr<Database>> opened = Database::Open(path_);
  EXPECT_EQ(opened.code(), StatusCode::kDataLoss) << opened.status().ToString();
  EXPECT_EQ(ReadText(path_), bytes);
}

TEST_F(DatabaseTest, TornTailOfTheLogCostsOnlyTheTail) {
  TestDir copy;
  {
    ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
    ASSERT_OK(database->Put(Kind::kPod, "whole", "1", Durability::kAtomic));
    ASSERT_OK(database->Put(Kind::kPod, "torn", std::string(20'000, 't'), Durability::kAtomic));
    std::string log = ReadText(path_ + "-wal");
    WriteText(copy / "davit.db", ReadText(path_));
    WriteText(copy / "davit.db-wal", log.substr(0, log.size() - 5000));
  }
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(copy / "davit.db"));
  EXPECT_EQ(database->Get(Kind::kPod, "whole").value_or(""), "1");
  EXPECT_EQ(database->Get(Kind::kPod, "torn").code(), StatusCode::kNotFound);
}

TEST_F(DatabaseTest, EightThreadsOfBothDurabilities) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&database = *database, t] {
      Durability durability = t % 2 == 0 ? Durability::kAtomic : Durability::kDurable;
      for (int i = 0; i < 50; ++i) {
        std::string id = std::to_string(t) + "." + std::to_string(i);
        Batch batch;
        batch.Put(Kind::kPod, id, "first");
        batch.Put(Kind::kIntent, id, "x");
        EXPECT_TRUE(database.Apply(batch, durability).ok());
        EXPECT_TRUE(database.Put(Kind::kPod, id, id, durability).ok());
        EXPECT_TRUE(database.Delete(Kind::kIntent, id, durability).ok());
        EXPECT_EQ(database.Get(Kind::kPod, id).value_or(""), id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK_AND_ASSIGN(std::vector<Record> pods, database->LoadAll(Kind::kPod));
  EXPECT_EQ(pods.size(), 400u);
  for (const Record& pod : pods) EXPECT_EQ(pod.id, pod.body);
  ASSERT_OK_AND_ASSIGN(std::vector<Record> intents, database->LoadAll(Kind::kIntent));
  EXPECT_THAT(intents, IsEmpty());
}

TEST_F(DatabaseTest, LogStaysBounded) {
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path_));
  for (int i = 0; i < 120; ++i) {  // ten pages and more each; the same body again would not be written
    std::string body(40'000, static_cast<char>('a' + i % 26));
    ASSERT_OK(database->Put(Kind::kPod, "p", body, Durability::kDurable));
  }
  struct stat info {};
  ASSERT_EQ(::stat((path_ + "-wal").c_str(), &info), 0);
  EXPECT_LT(info.st_size, 4 << 20);
}

// Needs root: mounts a filesystem of one MiB to fill.
class RootDatabaseDiskFullTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting a small tmpfs needs root";
    ASSERT_OK(sys::Mount("tmpfs", dir_.path(), "tmpfs", 0, "size=1m"));
  }
  void TearDown() override { EXPECT_TRUE(sys::Unmount(dir_.path()).ok()); }
  TestDir dir_;
};

TEST_F(RootDatabaseDiskFullTest, SaysSoAndKeepsWhatItHas) {
  std::string path = dir_ / "davit.db";
  ASSERT_OK_AND_ASSIGN(auto database, Database::Open(path));
  std::string body(10'000, 'x');
  int written = 0;
  Status last;
  while (last.ok() && written < 1000) {
    last = database->Put(Kind::kPod, "p" + std::to_string(written), body,
                         written % 2 == 0 ? Durability::kAtomic : Durability::kDurable);
    if (last.ok()) ++written;
  }
  EXPECT_EQ(last.code(), StatusCode::kResourceExhausted) << last.ToString();
  EXPECT_GT(written, 20);
  Batch batch;
  batch.Put(Kind::kPod, "q", body);
  batch.Put(Kind::kPod, "r", body);
  EXPECT_EQ(database->Apply(batch, Durability::kAtomic).code(), StatusCode::kResourceExhausted);

  ASSERT_OK_AND_ASSIGN(std::vector<Record> records, database->LoadAll(Kind::kPod));
  EXPECT_EQ(records.size(), static_cast<size_t>(written));
  database.reset();
  ASSERT_OK(sys::Mount("tmpfs", dir_.path(), "tmpfs", MS_REMOUNT, "size=8m"));
  ASSERT_OK_AND_ASSIGN(database, Database::Open(path));
  ASSERT_OK_AND_ASSIGN(records, database->LoadAll(Kind::kPod));
  EXPECT_EQ(records.size(), static_cast<size_t>(written));
  EXPECT_TRUE(database->Apply(batch, Durability::kDurable).ok());
}

// Needs root: it mounts a filesystem that can be filled.
TEST(RootDatabaseTest, AFullDiskTakesWhatFreesIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a filesystem needs root";
  TestDir dir;
  const std::string disk = dir / "disk";
  ASSERT_OK(sys::MakeDirectories(disk, 0700));
  ASSERT_OK(sys::Mount("tmpfs", disk, "tmpfs", 0, "size=32m"));
  {
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<Database> database, Database::Open(disk + "/davit.db"));
    const std::string body(2000, 'b');
    for (int i = 0; i < 500; ++i) {
      ASSERT_OK(database->Put(Kind::kContainer, std::to_string(i), body, Durability::kAtomic));
    }
    sys::UniqueFd filler = *sys::Open(disk + "/filler", O_WRONLY | O_CREAT, 0600);
    while (sys::WriteAll(filler.get(), std::string(4096, 'f')).ok()) {
    }
    // More than the log's reserve holds at once.
    for (int round = 0; round < 10; ++round) {
      for (int i = round; i < 500; ++i) {
        ASSERT_OK(database->Put(Kind::kContainer, std::to_string(i), body + "x", Durability::kAtomic));
      }
      ASSERT_OK(database->Delete(Kind::kContainer, std::to_string(round), Durability::kDurable));
    }
    ASSERT_OK_AND_ASSIGN(std::vector<Record> left, database->LoadAll(Kind::kContainer));
    EXPECT_EQ(left.size(), 490u);
  }
  ASSERT_OK(sys::Unmount(disk));
}

}  // namespace
}  // namespace davit::store
