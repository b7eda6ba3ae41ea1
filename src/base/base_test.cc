#include <gtest/gtest.h>

#include <cerrno>

#include "base/deadline.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/rollback.h"
#include "base/status.h"
#include "base/strings.h"
#include "base/time.h"

namespace davit {
namespace {

TEST(StatusTest, AnnotatePutsIntentBeforeCause) {
  Status cause = ErrnoError(EACCES, "exec bridge");
  EXPECT_EQ(cause.Annotate("attach network").Annotate("run pod p1").ToString(),
            "PERMISSION_DENIED: run pod p1: attach network: exec bridge: Permission denied");
}

TEST(StatusTest, UndoErrorIsAppendedAndKeepsTheCode) {
  Status cause = NotFound("image x");
  Status both = cause.WithUndoError(Internal("umount failed"));
  EXPECT_EQ(both.code(), StatusCode::kNotFound);
  EXPECT_EQ(both.message(), "image x (undo: umount failed)");
}

TEST(StatusTest, ErrnoMapsToTheCodeThatFits) {
  EXPECT_EQ(ErrnoError(ENOENT, "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(ErrnoError(ENOSPC, "x").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoError(EIO, "x").code(), StatusCode::kInternal);
}

Result<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument("odd");
  return n / 2;
}
Result<int> Quarter(int n) {
  ASSIGN_OR_RETURN(int half, Half(n));
  ASSIGN_OR_RETURN_WITH(int quarter, Half(half), "second half");
  return quarter;
}

TEST(ResultTest, MacrosReturnTheValueOrTheAnnotatedError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(7).status().message(), "odd");
  EXPECT_EQ(Quarter(6).status().message(), "second half: odd");
}

TEST(IdTest, ParsesOnlySixtyFourLowerCaseHexDigits) {
  PodId id = PodId::Mint();
  EXPECT_TRUE(PodId::Parse(id.str()).ok());
  EXPECT_FALSE(PodId::Parse(id.str().substr(1)).ok());
  EXPECT_FALSE(PodId::Parse("../" + id.str().substr(3)).ok());
  EXPECT_FALSE(PodId::Parse(std::string(64, 'A')).ok());
  EXPECT_NE(PodId::Mint(), id);
}

TEST(RollbackTest, RunsStepsInReverseAndNotAfterCommit) {
  std::string order;
  {
    Rollback undo;
    undo.Add("a", [&] {
      order += "a";
      return Status();
    });
    undo.Add("b", [&] {
      order += "b";
      return Status();
    });
  }
  EXPECT_EQ(order, "ba");
  {
    Rollback undo;
    undo.Add("c", [&] {
      order += "c";
      return Status();
    });
    undo.Commit();
  }
  EXPECT_EQ(order, "ba");
}

TEST(RollbackTest, GoesOnAfterAFailedStepAndReportsTheFirst) {
  bool ran = false;
  Rollback undo;
  undo.Add("first", [&] {
    ran = true;
    return Status();
  });
  undo.Add("second", [] { return Internal("stuck"); });
  EXPECT_EQ(undo.Run().message(), "undo second: stuck");
  EXPECT_TRUE(ran);
}

TEST(DeadlineTest, HugeBudgetsAreInfinite) {
  EXPECT_TRUE(Deadline::After(std::chrono::steady_clock::duration::max()).infinite());
  EXPECT_EQ(Deadline::Infinite().PollTimeoutMs(), -1);
  EXPECT_EQ(Deadline::After(std::chrono::seconds(-1)).PollTimeoutMs(), 0);
}

TEST(StringsTest, IntegersParseWholeOrNotAtAll) {
  EXPECT_EQ(ParseUint64("18446744073709551615"), 18446744073709551615u);
  for (std::string_view bad : {"", " 1", "1 ", "+1", "-1", "0x1", "18446744073709551616"}) {
    EXPECT_FALSE(ParseUint64(bad)) << bad;
  }
  EXPECT_EQ(ParseInt64("-5"), -5);
}

TEST(StringsTest, PathComponentsHoldNoPath) {
  EXPECT_TRUE(IsPathComponent("bridge"));
  for (std::string_view bad : {"", ".", "..", "a/b", "../x", "a b"}) EXPECT_FALSE(IsPathComponent(bad)) << bad;
}

TEST(StringsTest, NearestWordFindsMisspellings) {
  std::vector<std::string> keys = {"runtime", "plugin_dirs", "listen"};
  EXPECT_EQ(NearestWord("plugin_dir", keys), "plugin_dirs");
  EXPECT_EQ(NearestWord("zzz", keys), std::nullopt);
  EXPECT_EQ(NearestWord("registry", {"pinned", "registries"}), "registries");
}

TEST(StringsTest, HexRoundTrips) {
  EXPECT_EQ(HexEncode(std::string_view("\x00\xff\x10", 3)), "00ff10");
  EXPECT_EQ(HexDecode("00ff10"), std::string("\x00\xff\x10", 3));
  EXPECT_FALSE(HexDecode("0"));
  EXPECT_FALSE(HexDecode("zz"));
}

TEST(TimeTest, FormatsNineFractionalDigitsInUtc) {
  EXPECT_EQ(FormatRfc3339Nano(1'700'000'000'000'000'001), "2023-11-14T22:13:20.000000001Z");
}

}  // namespace
}  // namespace davit
