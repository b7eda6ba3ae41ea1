#include "store/root_usage.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/ids.h"
#include "store/test_dir.h"
#include "sys/atomic_file.h"

namespace davit::store {
namespace {

class RootUsageTest : public ::testing::Test {
 protected:
  void File(const std::string& path, size_t size) {
    const std::string whole = dir_ / path;
    ASSERT_OK(sys::MakeDirectories(whole.substr(0, whole.rfind('/')), 0755));
    WriteText(whole, std::string(size, 'x'));
  }
  static const OwnedBytes* Find(const std::vector<OwnedBytes>& parts, Owner owner, const std::string& name = "") {
    auto found =
        std::find_if(parts.begin(), parts.end(), [&](const auto& p) { return p.owner == owner && p.name == name; });
    return found == parts.end() ? nullptr : &*found;
  }
  TestDir dir_;
};

TEST_F(RootUsageTest, EveryByteHasAnOwner) {
  const std::string container = MintId();
  const std::string layer(64, 'a');
  const std::string lost(64, 'b');
  File("davit.db", 9000);
  File("davit.db-wal", 5000);
  File("content/sha256/x", 100);
  File("records/image/x", 100);
  File("quarantine/0123/layers/x", 100'000);
  File("trash/0123/x", 20'000);
  File("layers/.staging-12/fs/x", 30'000);
  File("layers/" + layer + "/fs/x", 1'000'000);
  File("layers/" + layer + "/checksums", 70'000);
  File("layers/" + lost + "/fs/x", 40'000);
  File("containers/" + container + "/upper/x", 50'000);
  File("containers/notes", 10);
  File("somebody/else", 60'000);
  ASSERT_OK_AND_ASSIGN(RootWalk walk, RootWalk::Begin(dir_.path(), {layer}));
  for (const OwnedBytes& part : walk.parts()) {
    EXPECT_EQ(part.lower_bound, part.owner != Owner::kDirectories) << OwnerName(part.owner);
  }
  while (!walk.Step(3)) {
  }
  uint64_t sum = 0;
  for (const OwnedBytes& part : walk.parts()) {
    EXPECT_FALSE(part.lower_bound) << OwnerName(part.owner) << " " << part.name;
    sum += part.disk.bytes;
  }
  EXPECT_LT(sum, 1'000'000U) << "the layer that the store knows is not walked";
  auto bytes = [&](Owner owner, const std::string& name = "") {
    const OwnedBytes* part = Find(walk.parts(), owner, name);
    return part == nullptr ? 0 : part->disk.bytes;
  };
  EXPECT_GE(bytes(Owner::kDatabase), 14'000U);
  EXPECT_GE(bytes(Owner::kContent), 100U);
  EXPECT_GE(bytes(Owner::kRecords), 70'100U) << "the lists of layers, too";
  EXPECT_GE(bytes(Owner::kQuarantine, "0123"), 100'000U);
  EXPECT_GE(bytes(Owner::kTrash), 20'000U);
  EXPECT_GE(bytes(Owner::kStaging, ".staging-12"), 30'000U);
  EXPECT_GE(bytes(Owner::kUnknown, "layers/" + lost), 40'000U);
  EXPECT_GE(bytes(Owner::kContainer, container), 50'000U);
  EXPECT_GE(bytes(Owner::kUnknown, "containers/notes"), 10U);
  EXPECT_GE(bytes(Owner::kUnknown, "somebody"), 60'000U);
  EXPECT_EQ(Find(walk.parts(), Owner::kDirectories)->disk.inodes, 4U) << "the root and three of its directories";
}

TEST_F(RootUsageTest, WhatGoesMeanwhileIsNotCounted) {
  File("trash/0123/x", 20'000);
  File("quarantine/0/x", 20'000);
  ASSERT_OK_AND_ASSIGN(RootWalk walk, RootWalk::Begin(dir_.path(), {}));
  ASSERT_EQ(::rename((dir_ / "trash").c_str(), (dir_ / "quarantine/0/trash").c_str()), 0);
  while (!walk.Step(1)) {
  }
  EXPECT_EQ(Find(walk.parts(), Owner::kTrash)->disk.bytes, 0U);
  EXPECT_FALSE(Find(walk.parts(), Owner::kTrash)->lower_bound);
  EXPECT_EQ(RootWalk::Begin(dir_ / "none", {}).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace davit::store
