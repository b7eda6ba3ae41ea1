#include "monitor/log_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base/strings.h"
#include "base/time.h"

namespace davit::monitor {
namespace {

constexpr std::string_view kStamp = "2026-11-22T10:00:00.000000000Z";

std::string FormatIn(LogFormatter& formatter, Stream stream, std::string_view data, size_t room) {
  std::string out;
  std::string buffer(room, '\0');
  while (!data.empty()) {
    LogFormatter::Progress done = formatter.Format(stream, data, kStamp.data(), buffer.data(), room);
    out.append(buffer, 0, done.produced);
    data.remove_prefix(done.consumed);
  }
  return out;
}

std::string FinishIn(LogFormatter& formatter, Stream stream) {
  std::string buffer(4096, '\0');
  buffer.resize(formatter.Finish(stream, kStamp.data(), buffer.data()));
  return buffer;
}

TEST(LogFormatterTest, TagsWholeLinesAndKeepsTheUnfinishedOne) {
  LogFormatter formatter(1024);
  std::string stamp(kStamp);
  EXPECT_EQ(FormatIn(formatter, Stream::kStdout, "one\n\ntw", 2048),
            stamp + " stdout F one\n" + stamp + " stdout F \n");
  EXPECT_EQ(FormatIn(formatter, Stream::kStderr, "err\n", 2048), stamp + " stderr F err\n");
  EXPECT_EQ(FormatIn(formatter, Stream::kStdout, "o\n", 2048), stamp + " stdout F two\n");
  EXPECT_FALSE(formatter.HasUnfinished(Stream::kStdout));
}

TEST(LogFormatterTest, LineOfExactlyTheLimitIsFull) {
  LogFormatter formatter(300);
  std::string text(300, 'x');
  EXPECT_EQ(FormatIn(formatter, Stream::kStdout, text + "\n", 1024), std::string(kStamp) + " stdout F " + text + "\n");
}

TEST(LogFormatterTest, LongerLineIsCutIntoPartialPieces) {
  LogFormatter formatter(300);
  std::string text(700, 'x');
  std::string stamp(kStamp), piece(300, 'x');
  std::string got = FormatIn(formatter, Stream::kStdout, text, 1024);
  got += FinishIn(formatter, Stream::kStdout);
  EXPECT_EQ(got, stamp + " stdout P " + piece + "\n" + stamp + " stdout P " + piece + "\n" + stamp + " stdout P " +
                     std::string(100, 'x') + "\n");
}

TEST(LogFormatterTest, LinesDoNotDependOnTheChunks) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 200; ++round) {
    std::string data(random() % 6000, 'a');
    for (char& c : data) c = random() % 40 == 0 ? '\n' : static_cast<char>('a' + random() % 26);
    if (round % 5 == 0) data.insert(data.size() / 2, std::string(256 * (1 + random() % 3), 'L'));
    LogFormatter whole(256);
    std::string expected = FormatIn(whole, Stream::kStdout, data, 1 << 20);
    expected += FinishIn(whole, Stream::kStdout);
    LogFormatter chunked(256);
    std::string got;
    std::string_view rest = data;
    while (!rest.empty()) {
      size_t size = std::min<size_t>(rest.size(), 1 + random() % 700);
      got += FormatIn(chunked, Stream::kStdout, rest.substr(0, size), 256 + LogFormatter::kOverhead + random() % 200);
      rest.remove_prefix(size);
    }
    got += FinishIn(chunked, Stream::kStdout);
    ASSERT_EQ(got, expected) << "round " << round;
    std::string text;  // nothing is lost: the payload is the input again
    for (const std::string& line : Split(got, '\n')) {
      if (line.empty()) continue;
      text += line.substr(kTimestampBytes + 10);
      if (line[kTimestampBytes + 8] == 'F') text += '\n';
    }
    ASSERT_EQ(text, data);
  }
}

TEST(TimestampTest, MatchesTheLibrary) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 2000; ++i) {
    int64_t nanos =
        static_cast<int64_t>(random() % 4102444800ULL) * 1'000'000'000 + static_cast<int64_t>(random() % 1'000'000'000);
    char out[kTimestampBytes];
    FormatTimestamp(nanos, out);
    ASSERT_EQ(std::string(out, sizeof out), FormatRfc3339Nano(nanos));
  }
}

class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/davit-log-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    for (const char* file : {"/log", "/old", "/target"}) ::unlink((directory_ + file).c_str());
    ::rmdir(directory_.c_str());
  }
  // Text of each line, without the timestamp.
  std::vector<std::string> Lines(const std::string& file) {
    std::ifstream in(directory_ + file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line.substr(kTimestampBytes + 1));
    return lines;
  }
  std::string directory_;
};

TEST_F(LogWriterTest, ReopenSplitsBetweenLines) {
  Result<LogWriter> log = LogWriter::Open(directory_ + "/log", 16384);
  ASSERT_TRUE(log.ok()) << log.status().ToString();
  log->Add(Stream::kStdout, "first\nsecond ha");
  ASSERT_EQ(::rename((directory_ + "/log").c_str(), (directory_ + "/old").c_str()), 0);
  ASSERT_TRUE(log->Reopen().ok());
  EXPECT_EQ(::access((directory_ + "/log").c_str(), F_OK), 0);
  log->Add(Stream::kStdout, "lf\n");
  log->Add(Stream::kStderr, "tail");
  log->Finish(Stream::kStderr);
  EXPECT_EQ(Lines("/old"), std::vector<std::string>({"stdout F first"}));
  EXPECT_EQ(Lines("/log"), std::vector<std::string>({"stdout F second half", "stderr P tail"}));
}

TEST_F(LogWriterTest, RefusesASymlinkAndADirectory) {
  ASSERT_EQ(::symlink((directory_ + "/target").c_str(), (directory_ + "/log").c_str()), 0);
  EXPECT_FALSE(LogWriter::Open(directory_ + "/log", 16384).ok());
  EXPECT_EQ(::access((directory_ + "/target").c_str(), F_OK), -1);
  EXPECT_EQ(LogWriter::Open(directory_ + "/missing/log", 16384).code(), StatusCode::kNotFound);
}

TEST_F(LogWriterTest, HoldsBackWhenTheFileCannotGrow) {
  // A file size limit stands in for a full disk: the write that crosses it is cut, the next one fails.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  Result<LogWriter> log = LogWriter::Open(directory_ + "/log", 16384);
  ASSERT_TRUE(log.ok());
  rlimit tight = before;
  tight.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  std::vector<std::string> expected;
  std::string data;
  for (int i = 0; i < 5000; ++i) {
    data += "line " + std::to_string(i) + "\n";
    expected.push_back("stdout F line " + std::to_string(i));
  }
  log->Add(Stream::kStdout, data);
  EXPECT_TRUE(log->blocked());
  log->ReleaseMemory();
  log->Retry();
  EXPECT_TRUE(log->blocked());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  log->Retry();
  EXPECT_FALSE(log->blocked());
  EXPECT_EQ(Lines("/log"), expected);
}

TEST_F(LogWriterTest, ReopenWhileBlockedRepeatsTheTornLineInTheNewFile) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  Result<LogWriter> log = LogWriter::Open(directory_ + "/log", 16384);
  ASSERT_TRUE(log.ok());
  rlimit tight = before;
  tight.rlim_cur = 60;  // the first line is 47 bytes, the second is cut
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  log->Add(Stream::kStdout, "12345\nabcde\n");
  EXPECT_TRUE(log->blocked());
  ASSERT_EQ(::rename((directory_ + "/log").c_str(), (directory_ + "/old").c_str()), 0);
  Status reopened = log->Reopen();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(reopened.ok());
  log->Retry();
  EXPECT_EQ(Lines("/log"), std::vector<std::string>({"stdout F abcde"}));
}

// At a limit the file is put aside between two lines, and no line is lost or twice.
TEST_F(LogWriterTest, AFileOfTheSizeIsPutAside) {
  Result<LogWriter> log = LogWriter::Open(directory_ + "/log", 16384);
  ASSERT_TRUE(log.ok());
  log->RotateAt(200, 3);
  for (int i = 0; i < 12; ++i) log->Add(Stream::kStdout, "line " + std::to_string(i) + "\n");
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/log.3"));
  std::vector<std::string> all;
  for (const char* name : {"/log.2", "/log.1", "/log"}) {
    EXPECT_LT(std::filesystem::file_size(directory_ + name), 300u);
    for (const std::string& line : Lines(name)) all.push_back(line);
  }
  ASSERT_GE(all.size(), 8u);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i], "stdout F line " + std::to_string(12 - all.size() + i));
  }
}

TEST_F(LogWriterTest, OneFileBeginsAnew) {
  Result<LogWriter> log = LogWriter::Open(directory_ + "/log", 16384);
  ASSERT_TRUE(log.ok());
  log->RotateAt(100, 1);
  for (int i = 0; i < 4; ++i) log->Add(Stream::kStdout, "line " + std::to_string(i) + "\n");
  log->Add(Stream::kStdout, "last\n");
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/log.1"));
  EXPECT_LT(std::filesystem::file_size(directory_ + "/log"), 100u);
}

}  // namespace
}  // namespace davit::monitor
