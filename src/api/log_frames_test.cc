#include "api/log_frames.h"

#include <gtest/gtest.h>

#include "api/bridge.h"

namespace davit::api {
namespace {

constexpr char kLog[] =
    "2026-11-22T01:00:00.000000001Z stdout F one\n"
    "2026-11-22T01:00:01.000000001Z stderr F bad\n"
    "2026-11-22T01:00:02.000000001Z stdout P tw\n"
    "2026-11-22T01:00:02.000000002Z stdout F o\n"
    "no entry at all\n"
    "2026-11-22T01:00:03.000000001Z stdout F three\n";

std::string All(const LogOptions& options, size_t cut = 1000000) {
  LogFrames frames(options);
  std::string_view log = kLog;
  std::string out = frames.Feed(log.substr(0, cut));
  if (cut < log.size()) out += frames.Feed(log.substr(cut));
  return out + frames.Finish();
}

TEST(LogFramesTest, FramesEachEntryHoweverItIsCut) {
  std::string whole = Frame(1, "one\n") + Frame(2, "bad\n") + Frame(1, "tw") + Frame(1, "o\n") + Frame(1, "three\n");
  for (size_t cut = 0; cut < sizeof kLog; ++cut) EXPECT_EQ(All({}, cut), whole) << cut;
}

TEST(LogFramesTest, ATerminalsLogIsText) {
  LogOptions options;
  options.raw = true;
  EXPECT_EQ(All(options), "one\nbad\ntwo\nthree\n");
}

TEST(LogFramesTest, ChoosesStreamsAndTimes) {
  LogOptions options;
  options.raw = false;
  options.err = false;
  options.timestamps = true;
  options.since = 1795309201ll * 1000000000;  // 2026-11-22T01:00:01Z
  EXPECT_EQ(All(options), Frame(1, "2026-11-22T01:00:02.000000001Z tw") + Frame(1, "o\n") +
                              Frame(1, "2026-11-22T01:00:03.000000001Z three\n"));
  options = {};
  options.until = 1795309201ll * 1000000000;
  EXPECT_EQ(All(options), Frame(1, "one\n"));
}

TEST(FrameTest, HasDockersHead) {
  EXPECT_EQ(Frame(1, "exec-hi\n"), std::string("\x01\0\0\0\0\0\0\x08", 8) + "exec-hi\n");
  EXPECT_EQ(Frame(2, std::string(70000, 'x')).substr(0, 8), std::string("\x02\0\0\0\0\x01\x11\x70", 8));
}

TEST(DetachKeysTest, ReadsDockersNotation) {
  EXPECT_EQ(*ParseDetachKeys("ctrl-p,ctrl-q"), "\x10\x11");
  EXPECT_EQ(*ParseDetachKeys("a,ctrl-@"), std::string("a\0", 2));
  EXPECT_EQ(*ParseDetachKeys(""), "");
  EXPECT_FALSE(ParseDetachKeys("ctrl-").ok());
  EXPECT_FALSE(ParseDetachKeys("ab").ok());
}

TEST(DetachScannerTest, FindsTheSequenceInAnyCut) {
  DetachScanner scanner("\x10\x11");
  EXPECT_EQ(scanner.Filter("ab\x10"), "ab");
  EXPECT_EQ(scanner.Filter("c\x10\x10"),
            "\x10"
            "c\x10");
  EXPECT_FALSE(scanner.found());
  EXPECT_EQ(scanner.Filter("\x11tail"), "");
  EXPECT_TRUE(scanner.found());
  DetachScanner none("");
  EXPECT_EQ(none.Filter("\x10\x11"), "\x10\x11");
}

}  // namespace
}  // namespace davit::api
