#include "image/blob_pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>

namespace davit::image {
namespace {

std::string Blob(size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i) out += static_cast<char>('a' + i * 7 % 26);
  return out;
}

TEST(BlobPiecesTest, TheyComeInOrderWhateverTheirOrder) {
  const std::string blob = Blob(1003);
  std::mutex mutex;
  std::condition_variable changed;
  std::set<uint64_t> begun;
  // The first piece is there after the second has been asked for.
  auto fetch = [&](uint32_t, uint64_t offset, uint64_t size, const auto&) -> Result<std::string> {
    std::unique_lock lock(mutex);
    begun.insert(offset);
    changed.notify_all();
    if (offset == 103) changed.wait_for(lock, std::chrono::seconds(30), [&] { return begun.count(203) != 0; });
    return blob.substr(offset, size);
  };
  std::string got = blob.substr(0, 103);
  Status status = FetchInPieces({103, blob.size(), 100, 3}, fetch, [&](std::string_view piece) {
    got.append(piece);
    return Status();
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(got, blob);
  EXPECT_EQ(begun.size(), 9u);
}

TEST(BlobPiecesTest, NoMoreIsHeldThanOnePieceAConnectionAndOne) {
  const std::string blob = Blob(10'000);
  std::atomic<uint64_t> fetched{0};
  uint64_t given = 0, most = 0;
  Status status = FetchInPieces(
      {0, blob.size(), 100, 4},
      [&](uint32_t connection, uint64_t offset, uint64_t size, const auto&) -> Result<std::string> {
        EXPECT_LT(connection, 4u);
        ++fetched;
        return blob.substr(offset, size);
      },
      [&](std::string_view) {
        ++given;
        most = std::max(most, fetched.load() - given);
        return Status();
      });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(given, 100u);
  EXPECT_LE(most, 5u);
}

TEST(BlobPiecesTest, AnErrorComesAtItsPlaceAndWhatWasBeforeItIsRight) {
  const std::string blob = Blob(1000);
  std::string got;
  Status status = FetchInPieces(
      {0, blob.size(), 100, 3},
      [&](uint32_t, uint64_t offset, uint64_t size, const auto&) -> Result<std::string> {
        if (offset >= 500) return Unavailable("cut");
        return blob.substr(offset, size);
      },
      [&](std::string_view piece) {
        got.append(piece);
        return Status();
      });
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(got, blob.substr(0, 500));
}

TEST(BlobPiecesTest, TheSinksErrorEndsTheRest) {
  std::atomic<int> begun{0};
  std::atomic<int> told{0};
  Status status = FetchInPieces(
      {0, 1000, 100, 3},
      [&](uint32_t, uint64_t offset, uint64_t size, const std::function<bool()>& go_on) -> Result<std::string> {
        if (offset == 0) {
          while (begun == 0) std::this_thread::yield();  // another is under way when the sink refuses this one
          return std::string(size, 'x');
        }
        ++begun;
        while (go_on()) std::this_thread::yield();
        ++told;
        return Cancelled("nobody wants it");
      },
      [](std::string_view) { return DataLoss("enough"); });
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_GE(told, 1);
}

}  // namespace
}  // namespace davit::image
