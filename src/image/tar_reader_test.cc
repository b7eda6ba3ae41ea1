#include "image/tar_reader.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "image/tar_builder.h"

namespace davit::image {
namespace {

// Hands out a text in pieces of a given size.
class TextSource final : public ByteSource {
 public:
  TextSource(std::string text, size_t piece) : text_(std::move(text)), piece_(piece) {}
  Result<std::string_view> Next() override {
    std::string_view out = std::string_view(text_).substr(at_, piece_);
    at_ += out.size();
    return out;
  }

 private:
  std::string text_;
  size_t piece_;
  size_t at_ = 0;
};

struct Seen {
  std::vector<TarEntry> entries;
  std::vector<std::string> data;
  Status status;
};

Seen ReadAllOf(const std::string& tar, size_t piece = 1 << 20, TarLimits limits = {}) {
  TextSource source(tar, piece);
  TarReader reader(source, limits);
  Seen out;
  while (true) {
    Result<std::optional<TarEntry>> entry = reader.Next();
    if (!entry.ok()) {
      out.status = entry.status();
      return out;
    }
    if (!*entry) return out;
    out.entries.push_back(**entry);
    std::string data;
    while (true) {
      Result<std::string_view> more = reader.Data();
      if (!more.ok()) {
        out.status = more.status();
        return out;
      }
      if (more->empty()) break;
      data.append(*more);
    }
    out.data.push_back(std::move(data));
  }
}

TEST(TarReaderTest, ReadsEntriesWhateverThePieces) {
  TarBuilder tar;
  tar.Dir("d/")
      .File("d/a", "hello")
      .File("d/big", std::string(5000, 'x'))
      .Link("l", '2', "d/a")
      .Link("h", '1', "d/a")
      .Node("n", '3', 1, 3)
      .Node("p", '6', 0, 0);
  for (size_t piece : {1, 7, 511, 512, 513, 1 << 20}) {
    Seen seen = ReadAllOf(tar.Finish(), piece);
    ASSERT_TRUE(seen.status.ok()) << seen.status.ToString();
    ASSERT_EQ(seen.entries.size(), 7u);
    EXPECT_EQ(seen.entries[0].type, TarType::kDirectory);
    EXPECT_EQ(seen.data[1], "hello");
    EXPECT_EQ(seen.data[2], std::string(5000, 'x'));
    EXPECT_EQ(seen.entries[3].link_name, "d/a");
    EXPECT_EQ(seen.entries[4].type, TarType::kHardLink);
    EXPECT_EQ(seen.entries[5].device_minor, 3u);
    EXPECT_EQ(seen.entries[1].mtime_seconds, 1'000'000'000);
    EXPECT_EQ(seen.entries[6].type, TarType::kFifo);
  }
}

TEST(TarReaderTest, AppliesPaxRecords) {
  TarBuilder tar;
  const std::string path(300, 'p');
  tar.Pax(TarBuilder::Record("path", path) + TarBuilder::Record("uid", "3000000") +
          TarBuilder::Record("mtime", "-1.5") + TarBuilder::Record("SCHILY.xattr.user.a", std::string("v\0w", 3)) +
          TarBuilder::Record("size", "3"))
      .File("short", "abc")
      .File("next", "");
  Seen seen = ReadAllOf(tar.Finish());
  ASSERT_TRUE(seen.status.ok()) << seen.status.ToString();
  EXPECT_EQ(seen.entries[0].name, path);
  EXPECT_EQ(seen.entries[0].uid, 3000000u);
  EXPECT_EQ(seen.entries[0].mtime_seconds, -2);
  EXPECT_EQ(seen.entries[0].mtime_nanos, 500'000'000u);
  ASSERT_EQ(seen.entries[0].xattrs.size(), 1u);
  EXPECT_EQ(seen.entries[0].xattrs[0].second, std::string("v\0w", 3));
  EXPECT_EQ(seen.entries[1].name, "next") << "records are for one entry only";
}

TEST(TarReaderTest, IgnoresGlobalHeadersAndTakesGnuNames) {
  TarBuilder tar;
  tar.Pax(TarBuilder::Record("path", "evil"), 'g')
      .Add("././@LongLink", 'L', std::string(200, 'n') + std::string(1, '\0'), {})
      .File("x", "");
  Seen seen = ReadAllOf(tar.Finish());
  ASSERT_TRUE(seen.status.ok()) << seen.status.ToString();
  EXPECT_EQ(seen.entries[0].name, std::string(200, 'n'));
}

TEST(TarReaderTest, ReadsBase256NumbersAndUstarPrefix) {
  std::string block = TarBuilder::Header("name", '0', 0, {});
  block.replace(108, 8, std::string("\x80\0\0\0\0\x2d\xc6\xc0", 8));  // 3,000,000
  block.replace(345, 6, "prefix");
  Seen seen = ReadAllOf(TarBuilder().Raw(TarBuilder::Sum(block)).Finish());
  ASSERT_TRUE(seen.status.ok()) << seen.status.ToString();
  EXPECT_EQ(seen.entries[0].uid, 3000000u);
  EXPECT_EQ(seen.entries[0].name, "prefix/name");
}

TEST(TarReaderTest, OnlyRegularFilesHaveData) {
  std::string block = TarBuilder::Header("l", '1', 5000, {.link = "t"});
  Seen seen = ReadAllOf(TarBuilder().Raw(block).File("after", "x").Finish());
  ASSERT_TRUE(seen.status.ok()) << seen.status.ToString();
  ASSERT_EQ(seen.entries.size(), 2u);
}

TEST(TarReaderTest, RefusesMalformedArchives) {
  struct Case {
    std::string what;
    std::string tar;
    StatusCode code;
  };
  std::string bad_sum = TarBuilder::Header("a", '0', 0, {});
  bad_sum[0] = 'b';
  std::string negative = TarBuilder::Header("a", '0', 0, {});
  negative.replace(124, 12, std::string(12, '\xff'));
  std::string nobody = TarBuilder::Header("a", '0', 0, {});
  nobody.replace(108, 8, std::string("\x80\0\0\0\xff\xff\xff\xff", 8));
  const Case cases[] = {
      {"checksum", TarBuilder().Raw(bad_sum).Finish(), StatusCode::kInvalidArgument},
      {"negative size", TarBuilder().Raw(TarBuilder::Sum(negative)).Finish(), StatusCode::kInvalidArgument},
      {"uid -1", TarBuilder().Raw(TarBuilder::Sum(nobody)).Finish(), StatusCode::kInvalidArgument},
      {"empty name", TarBuilder().File("", "").Finish(), StatusCode::kInvalidArgument},
      {"link without target", TarBuilder().Link("l", '2', "").Finish(), StatusCode::kInvalidArgument},
      {"PAX sparse of a later format",
       TarBuilder().Pax(TarBuilder::Record("GNU.sparse.major", "2")).File("s", "").Finish(),
       StatusCode::kUnimplemented},
      {"unknown type", TarBuilder().Add("s", 'Z', "", {}).Finish(), StatusCode::kUnimplemented},
      {"PAX length", TarBuilder().Pax("99 a=b\n").File("s", "").Finish(), StatusCode::kInvalidArgument},
      {"PAX zero length", TarBuilder().Pax("0 a=b\n").File("s", "").Finish(), StatusCode::kInvalidArgument},
      {"PAX uid", TarBuilder().Pax(TarBuilder::Record("uid", "4294967295")).File("s", "").Finish(),
       StatusCode::kInvalidArgument},
      {"PAX NUL", TarBuilder().Pax(TarBuilder::Record("path", std::string("a\0b", 3))).File("s", "").Finish(),
       StatusCode::kInvalidArgument},
      {"PAX bomb", TarBuilder().Raw(TarBuilder::Header("x", 'x', 1ULL << 32, {})).Finish(),
       StatusCode::kResourceExhausted},
      {"name bomb", TarBuilder().Pax(TarBuilder::Record("path", std::string(5000, 'a'))).File("s", "").Finish(),
       StatusCode::kResourceExhausted},
      {"data after end", TarBuilder().Raw(std::string(512, '\0')).File("a", "").Finish(), StatusCode::kInvalidArgument},
      {"truncated data", TarBuilder().File("a", std::string(2000, 'x')).Finish().substr(0, 1024),
       StatusCode::kDataLoss},
      {"truncated header", TarBuilder().File("a", "").Finish().substr(0, 100), StatusCode::kDataLoss},
  };
  for (const Case& c : cases) {
    Seen seen = ReadAllOf(c.tar);
    EXPECT_EQ(seen.status.code(), c.code) << c.what << ": " << seen.status.ToString();
  }
}

TEST(TarReaderTest, SparseMapsHaveToAgreeWithTheSizes) {
  auto pax = [](const std::string& map, const std::string& size, const std::string& data) {
    return TarBuilder()
        .Pax(TarBuilder::Record("GNU.sparse.size", size) + TarBuilder::Record("GNU.sparse.map", map))
        .File("s", data)
        .Finish();
  };
  auto in_data = [](std::string data) {
    data.resize((data.size() + 511) / 512 * 512);
    return TarBuilder()
        .Pax(TarBuilder::Record("GNU.sparse.major", "1") + TarBuilder::Record("GNU.sparse.realsize", "1000"))
        .File("s", data)
        .Finish();
  };
  Seen good = ReadAllOf(pax("0,2,5,1", "10", "abc"));
  ASSERT_TRUE(good.status.ok()) << good.status.ToString();
  EXPECT_EQ(good.entries[0].size, 10u);
  EXPECT_EQ(good.entries[0].extents, (std::vector<SparseExtent>{{0, 2}, {5, 1}}));
  struct Case {
    std::string what;
    std::string tar;
    StatusCode code;
  };
  const Case cases[] = {
      {"behind", pax("5,2,0,1", "10", "abc"), StatusCode::kInvalidArgument},
      {"overlap", pax("0,2,1,1", "10", "abc"), StatusCode::kInvalidArgument},
      {"over the end", pax("0,2,9,2", "10", "abcd"), StatusCode::kInvalidArgument},
      {"more data than the map has", pax("0,2", "10", "abc"), StatusCode::kInvalidArgument},
      {"less data than the map has", pax("0,5", "10", "abc"), StatusCode::kInvalidArgument},
      {"odd", pax("0,2,5", "10", "abc"), StatusCode::kInvalidArgument},
      {"no number", pax("0,x", "10", ""), StatusCode::kInvalidArgument},
      {"huge", pax("18446744073709551615,1", "10", "a"), StatusCode::kResourceExhausted},
      {"huge file", pax("0,1", "18446744073709551615", "a"), StatusCode::kResourceExhausted},
      {"no size", TarBuilder().Pax(TarBuilder::Record("GNU.sparse.map", "0,1")).File("s", "a").Finish(),
       StatusCode::kInvalidArgument},
      {"map bomb", in_data("999999999\n"), StatusCode::kResourceExhausted},
      {"map past the data", in_data("3\n0\n1\n"), StatusCode::kInvalidArgument},
      {"endless digits", in_data(std::string(2000, '1')), StatusCode::kInvalidArgument},
      {"old, size wrong", TarBuilder().Add("s", 'S', "abc", {}).Finish(), StatusCode::kInvalidArgument},
  };
  for (const Case& c : cases) {
    Seen seen = ReadAllOf(c.tar);
    EXPECT_EQ(seen.status.code(), c.code) << c.what << ": " << seen.status.ToString();
  }
}

TEST(TarReaderTest, StopsAtHeaderChainsAndEntryCaps) {
  TarBuilder chain;
  for (int i = 0; i < 100; ++i) chain.Pax(TarBuilder::Record("a", "b"));
  EXPECT_EQ(ReadAllOf(chain.File("x", "").Finish()).status.code(), StatusCode::kInvalidArgument);
  TarBuilder many;
  for (int i = 0; i < 4; ++i) many.File("f", "");
  TarLimits limits;
  limits.max_entries = 3;
  EXPECT_EQ(ReadAllOf(many.Finish(), 512, limits).status.code(), StatusCode::kResourceExhausted);
}

TEST(TarReaderTest, EveryTruncationEndsCleanly) {
  TarBuilder tar;
  tar.Pax(TarBuilder::Record("path", "long")).File("d/a", std::string(700, 'y')).Dir("e/");
  const std::string whole = tar.Finish();
  // Blocks of 512 bytes: extended header and its data, header and two blocks of data, header of the directory. Only
  // where a header would begin may the archive end without its end mark.
  constexpr size_t kEnd = 6 * 512;
  const std::set<size_t> between = {0, 2 * 512, 5 * 512, kEnd};
  ASSERT_EQ(ReadAllOf(whole.substr(0, kEnd)).entries.size(), 2U);
  for (size_t size = 0; size <= kEnd; ++size) {
    Seen seen = ReadAllOf(whole.substr(0, size), 100);
    EXPECT_EQ(seen.status.code(), between.contains(size) ? StatusCode::kOk : StatusCode::kDataLoss) << size;
  }
}

}  // namespace
}  // namespace davit::image
