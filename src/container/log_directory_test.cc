#include "container/log_directory.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "sys/temp_dir.h"

namespace davit::container {
namespace {

namespace fs = std::filesystem;

TEST(LogDirectoryTest, MakesWhatIsMissing) {
  sys::TempDir dir;
  ASSERT_TRUE(MakeLogDirectories(dir.path() + "/pods/p", "ctr/sub/0.log").ok());
  EXPECT_TRUE(fs::is_directory(dir.path() + "/pods/p/ctr/sub"));
  EXPECT_FALSE(fs::exists(dir.path() + "/pods/p/ctr/sub/0.log"));
  EXPECT_TRUE(MakeLogDirectories(dir.path() + "/pods/p", "0.log").ok());
}

TEST(LogDirectoryTest, ALinkOnTheWayToTheDirectoryIsTheAdministrators) {
  sys::TempDir dir;
  fs::create_directory(dir.path() + "/elsewhere");
  fs::create_directory_symlink(dir.path() + "/elsewhere", dir.path() + "/pods");
  ASSERT_TRUE(MakeLogDirectories(dir.path() + "/pods/p", "ctr/0.log").ok());
  EXPECT_TRUE(fs::is_directory(dir.path() + "/elsewhere/p/ctr"));
}

TEST(LogDirectoryTest, ALinkBelowItIsRefusedAndNothingIsMadeBehindIt) {
  sys::TempDir dir;
  fs::create_directories(dir.path() + "/pods/p");
  fs::create_directory(dir.path() + "/outside");
  fs::create_directory_symlink(dir.path() + "/outside", dir.path() + "/pods/p/ctr");
  Status status = MakeLogDirectories(dir.path() + "/pods/p", "ctr/sub/0.log");
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("/pods/p/ctr"), std::string::npos) << status.message();
  EXPECT_TRUE(fs::is_empty(dir.path() + "/outside"));
}

TEST(LogDirectoryTest, WhatIsInTheFilesPlaceHasToBeAFile) {
  sys::TempDir dir;
  fs::create_symlink("/etc/shadow", dir.path() + "/0.log");
  fs::create_directory(dir.path() + "/1.log");
  for (const char* name : {"0.log", "1.log"}) {
    Status status = MakeLogDirectories(dir.path(), name);
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << name;
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace davit::container
