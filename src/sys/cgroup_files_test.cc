#include "sys/cgroup_files.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

class CgroupFilesTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(dir_.path() + "/" + path).parent_path());
    std::ofstream(dir_.path() + "/" + path) << text;
  }
  std::string Read(CgroupFiles& files, const std::string& directory, const std::string& name) {
    std::array<char, 16> buffer{};
    const std::optional<size_t> size = files.Read(dir_.path() + "/" + directory, name, buffer);
    return size ? std::string(buffer.data(), *size) : "(none)";
  }
  TempDir dir_;
};

TEST_F(CgroupFilesTest, ReadsWhatIsThereNowThroughAFileThatStaysOpen) {
  CgroupFiles files(8);
  Write("pod/one", "1\n");
  EXPECT_EQ(Read(files, "pod", "one"), "1\n");
  Write("pod/one", "22\n");
  EXPECT_EQ(Read(files, "pod", "one"), "22\n");
  EXPECT_EQ(files.open(), 1u);
  EXPECT_EQ(Read(files, "pod", "two"), "(none)");
  Write("pod/large", std::string(16, 'x'));
  EXPECT_EQ(Read(files, "pod", "large"), "(none)") << "does not fit";
  EXPECT_EQ(files.open(), 1u);
}

TEST_F(CgroupFilesTest, ForgetsADirectoryAndWhatIsBelow) {
  CgroupFiles files(8);
  for (const char* path : {"pod/f", "pod/box/f", "pod2/f"}) {
    Write(path, "x");
    EXPECT_EQ(Read(files, std::filesystem::path(path).parent_path(), "f"), "x");
  }
  EXPECT_EQ(files.open(), 3u);
  files.Forget(dir_.path() + "/pod");
  EXPECT_EQ(files.open(), 1u) << "pod2 is another";
  EXPECT_EQ(Read(files, "pod/box", "f"), "x");
}

TEST_F(CgroupFilesTest, KeepsNoMoreThanItMay) {
  CgroupFiles files(2);
  for (const char* name : {"a", "b", "c"}) Write(std::string("pod/") + name, name);
  for (int round = 0; round < 2; ++round) {
    for (const char* name : {"a", "b", "c"}) EXPECT_EQ(Read(files, "pod", name), name);
  }
  EXPECT_EQ(files.open(), 2u);
}

}  // namespace
}  // namespace davit::sys
