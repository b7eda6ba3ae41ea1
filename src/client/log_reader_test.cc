#include "client/log_reader.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace davit::client {
namespace {

constexpr char kTime[] = "2026-11-22T10:00:00.000000000Z";

std::string Line(const std::string& stream, const std::string& tag, const std::string& text) {
  return std::string(kTime) + " " + stream + " " + tag + " " + text + "\n";
}

class LogFileTest : public ::testing::Test {
 protected:
  LogFileTest() {
    char name[] = "/tmp/davit-cli-log-XXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ + "/0.log";
  }
  ~LogFileTest() override { std::filesystem::remove_all(directory_); }
  void Append(const std::string& text) const { std::ofstream(path_, std::ios::app) << text; }
  // What is shown of the last `lines`.
  std::string Tail(uint64_t lines) const {
    auto file = LogFile::Open(path_);
    EXPECT_TRUE(file.ok());
    EXPECT_TRUE(file->SeekTail(lines).ok());
    LogDecoder decoder(false);
    LogOutput output;
    for (std::string bytes = *file->Read(); !bytes.empty(); bytes = *file->Read()) decoder.Feed(bytes, output);
    decoder.Finish(output);
    EXPECT_EQ(output.err, "");
    return output.out;
  }

  std::string directory_;
  std::string path_;
};

TEST(LogReaderTest, ParsesEntries) {
  const std::string line = std::string(kTime) + " stderr P:tag two words ";  // what the entry looks into
  auto entry = ParseLogLine(line);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->time, kTime);
  EXPECT_EQ(entry->stream, LogStream::kStderr);
  EXPECT_TRUE(entry->partial);
  EXPECT_EQ(entry->text, "two words ");
  const std::string empty = std::string(kTime) + " stdout F";
  EXPECT_EQ(ParseLogLine(empty)->text, "");
  const std::string colon = std::string(kTime) + " stdout F a:b";
  EXPECT_EQ(ParseLogLine(colon)->text, "a:b");
}

TEST(LogReaderTest, RefusesWhatIsNoEntry) {
  for (const char* line : {"", "x", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z stdin F x", "now stdout F x",
                           "2026-11-22T10:00:00Z stdout X x", "2026-11-22T10:00:00Z stdout  x"}) {
    EXPECT_FALSE(ParseLogLine(line)) << line;
  }
}

TEST(LogReaderTest, MergesPartialEntriesByStream) {
  LogDecoder decoder(false);
  LogOutput output;
  decoder.Feed(Line("stdout", "P", "one ") + Line("stderr", "F", "error") + Line("stdout", "F", "line") +
                   Line("stdout", "F", ""),
               output);
  EXPECT_EQ(output.out, "one line\n\n");
  EXPECT_EQ(output.err, "error\n");
}

TEST(LogReaderTest, PutsOneTimeBeforeAMergedLine) {
  LogDecoder decoder(true);
  LogOutput output;
  decoder.Feed(Line("stdout", "P", "a") + Line("stdout", "F", "b") + Line("stdout", "F", "c"), output);
  EXPECT_EQ(output.out, std::string(kTime) + " ab\n" + kTime + " c\n");
}

TEST(LogReaderTest, TakesAnyCutOfTheBytes) {
  std::string log = Line("stdout", "P", "one ") + Line("stdout", "F", "line") + Line("stderr", "F", "x");
  for (size_t cut = 0; cut <= log.size(); ++cut) {
    LogDecoder decoder(false);
    LogOutput output;
    decoder.Feed(std::string_view(log).substr(0, cut), output);
    decoder.Feed(std::string_view(log).substr(cut), output);
    EXPECT_EQ(output.out, "one line\n");
    EXPECT_EQ(output.err, "x\n");
  }
}

TEST(LogReaderTest, ShowsAnUnfinishedLineAtTheEnd) {
  LogDecoder decoder(false);
  LogOutput output;
  decoder.Feed(std::string(kTime) + " stdout F half", output);
  EXPECT_EQ(output.out, "");
  decoder.Finish(output);
  EXPECT_EQ(output.out, "half\n");
}

TEST(LogReaderTest, CapsTheLengthOfALine) {
  LogDecoder decoder(false);
  LogOutput output;
  for (int i = 0; i < 6; ++i) decoder.Feed(std::string(1 << 20, 'x'), output);
  decoder.Feed("\n" + Line("stdout", "F", "next"), output);
  EXPECT_EQ(output.out, "next\n");
  EXPECT_NE(output.err.find("left out"), std::string::npos);
}

TEST_F(LogFileTest, TailsByWholeLinesOfOutput) {
  Append(Line("stdout", "F", "1") + Line("stdout", "P", "2a") + Line("stdout", "F", "2b") + Line("stdout", "F", "3"));
  EXPECT_EQ(Tail(0), "");
  EXPECT_EQ(Tail(1), "3\n");
  EXPECT_EQ(Tail(2), "2a2b\n3\n");
  EXPECT_EQ(Tail(3), "1\n2a2b\n3\n");
  EXPECT_EQ(Tail(100), "1\n2a2b\n3\n");
}

TEST_F(LogFileTest, TailsAcrossManyChunks) {
  std::string log;
  for (int i = 0; i < 5000; ++i) log += Line("stdout", "F", "line " + std::to_string(i));
  Append(log);
  std::string tail = Tail(3000);
  EXPECT_TRUE(tail.starts_with("line 2000\n")) << tail.substr(0, 40);
  EXPECT_EQ(std::count(tail.begin(), tail.end(), '\n'), 3000);
}

TEST_F(LogFileTest, TailsAnEmptyLog) {
  Append("");
  std::ofstream(path_).flush();
  EXPECT_EQ(Tail(5), "");
}

TEST_F(LogFileTest, GoesOnInTheFileThatARotationBegan) {
  Append(Line("stdout", "F", "old"));
  auto file = LogFile::Open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->Read(), Line("stdout", "F", "old"));
  EXPECT_FALSE(file->Rotated());
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  EXPECT_FALSE(file->Rotated());
  Append(Line("stdout", "F", "new"));
  EXPECT_TRUE(file->Rotated());
  EXPECT_EQ(*file->Read(), Line("stdout", "F", "new"));
  EXPECT_FALSE(file->Rotated());
}

TEST_F(LogFileTest, BeginsWithWhatWasPutAside) {
  for (int i = 0; i < 3; ++i) {
    Append(Line("stdout", "F", std::to_string(2 * i)) + Line("stdout", "F", std::to_string(2 * i + 1)));
    if (i == 2) break;
    if (i == 1) ::rename((path_ + ".1").c_str(), (path_ + ".2").c_str());
    ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  }
  auto whole = [&](std::optional<uint64_t> lines) {
    auto file = LogFile::Open(path_);
    EXPECT_TRUE(file.ok());
    if (lines) EXPECT_TRUE(file->SeekTail(*lines).ok());
    LogDecoder decoder(false);
    LogOutput output;
    do {
      for (std::string bytes = *file->Read(); !bytes.empty(); bytes = *file->Read()) decoder.Feed(bytes, output);
    } while (file->Rotated());
    return output.out;
  };
  EXPECT_EQ(whole(std::nullopt), "0\n1\n2\n3\n4\n5\n");
  EXPECT_EQ(whole(100), "0\n1\n2\n3\n4\n5\n");
  EXPECT_EQ(whole(5), "1\n2\n3\n4\n5\n");
  EXPECT_EQ(whole(3), "3\n4\n5\n");
  EXPECT_EQ(whole(2), "4\n5\n");
  EXPECT_EQ(whole(0), "");
}

TEST_F(LogFileTest, LosesNothingWhenItIsPutAsideTwice) {
  Append(Line("stdout", "F", "one"));
  auto file = LogFile::Open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->Read(), Line("stdout", "F", "one"));
  Append(Line("stdout", "F", "late"));  // after the last read, and before it is put aside
  ::rename(path_.c_str(), (path_ + ".1").c_str());
  Append(Line("stdout", "F", "two"));
  ::rename((path_ + ".1").c_str(), (path_ + ".2").c_str());
  ::rename(path_.c_str(), (path_ + ".1").c_str());
  Append(Line("stdout", "F", "three"));
  for (const char* next : {"late", "two", "three"}) {
    EXPECT_TRUE(file->Rotated());
    EXPECT_EQ(*file->Read(), Line("stdout", "F", next));
    EXPECT_EQ(*file->Read(), "");
  }
  EXPECT_FALSE(file->Rotated());
}

TEST(LogDecoderTest, ShowsOnlyWhatIsBetween) {
  LogDecoder decoder(false, "2026-01-01T00:00:01Z", "2026-01-01T00:00:02.5Z");
  LogOutput out;
  decoder.Feed(
      "2026-01-01T00:00:00.9Z stdout F before\n2026-01-01T00:00:01Z stdout F first\n"
      "2026-01-01T00:00:02.499Z stdout F last\n2026-01-01T00:00:02.51Z stdout F after\n"
      "2026-01-01T09:00:00+02:00 stdout F elsewhere\n",
      out);
  EXPECT_EQ(out.out, "first\nlast\nelsewhere\n");
}

}  // namespace
}  // namespace davit::client
