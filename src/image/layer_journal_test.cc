// A layer that was unpacked with a journal is the same tar again.
#include "image/layer_journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "image/layer_export.h"
#include "image/layer_writer.h"
#include "image/sha256.h"
#include "image/tar_builder.h"
#include "sys/temp_dir.h"

namespace davit::image {
namespace {

class Pieces final : public ByteSource {
 public:
  Pieces(std::string_view text, size_t step) : text_(text), step_(step) {}
  Result<std::string_view> Next() override {
    std::string_view piece = text_.substr(0, step_);
    text_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::string_view text_;
  size_t step_;
};

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteText(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

// Bytes that no compressor makes small, always the same.
std::string Noise(size_t size, uint32_t seed) {
  std::string out(size, '\0');
  for (char& c : out) {
    seed = seed * 1664525 + 1013904223;
    c = static_cast<char>(seed >> 24);
  }
  return out;
}

// Needs root: owners, device nodes and trusted.* attributes.
class RootLayerJournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "owners, device nodes and trusted.* attributes need root";
    old_umask_ = ::umask(0);
    Clear();
  }
  void TearDown() override { ::umask(old_umask_); }

  void Clear() {
    std::filesystem::remove_all(layer());
    std::filesystem::create_directories(layer() + "/fs");
    WriteText(dir_.At("outside"), "outside");
  }
  [[nodiscard]] std::string layer() const { return dir_.At("layer"); }

  Status Unpack(std::string_view tar, size_t step = SIZE_MAX) {
    LayerWriterLimits limits;
    limits.min_free_bytes = 1 << 20;
    Pieces source(tar, step);
    TarReader reader(source);
    ASSIGN_OR_RETURN(std::unique_ptr<LayerWriter> writer, LayerWriter::Create(layer() + "/fs", "layer", limits));
    ASSIGN_OR_RETURN(std::unique_ptr<LayerJournal> journal, LayerJournal::Create(layer(), [this](uint64_t bytes) {
                       charged_ += bytes;
                       return Status();
                     }));
    reader.SetTap(journal.get());
    writer->SetJournal(journal.get());
    RETURN_IF_ERROR(writer->WriteAll(reader));
    RETURN_IF_ERROR(reader.Drain());
    return journal->Finish();
  }

  Result<std::string> Export(std::string_view original) {
    ASSIGN_OR_RETURN(std::unique_ptr<LayerTar> tar, LayerTar::Open(layer(), {}));
    std::string out;
    RETURN_IF_ERROR(tar->Write(Sha256::Of(original), [&](std::string_view bytes) {
      out.append(bytes);
      return Status();
    }));
    EXPECT_EQ(out.size(), tar->size());
    return out;
  }

  void ExpectExact(const std::string& tar) {
    for (size_t step : {SIZE_MAX, size_t{100}}) {
      Clear();
      Status unpacked = Unpack(tar, step);
      ASSERT_TRUE(unpacked.ok()) << unpacked.ToString();
      Result<std::string> again = Export(tar);
      ASSERT_TRUE(again.ok()) << again.status().ToString();
      EXPECT_TRUE(*again == tar);
    }
  }
  [[nodiscard]] bool Replaced(const std::string& number) const {
    return std::filesystem::exists(layer() + "/replaced/" + number);
  }

  sys::TempDir dir_;
  mode_t old_umask_ = 0;
  uint64_t charged_ = 0;
};

TEST_F(RootLayerJournalTest, AllKindsOfEntriesComeAgain) {
  TarBuilder tar;
  tar.Pax(TarBuilder::Record("comment", "of the whole archive"), 'g').Dir("./").Dir("etc/");
  for (size_t size : {0, 1, 511, 512, 513, 100'000}) {
    tar.File("etc/" + std::to_string(size), Noise(size, static_cast<uint32_t>(size)), {.uid = 7, .gid = 9});
  }
  tar.Link("etc/hard", '1', "etc/513").Link("etc/soft", '2', "/etc/513").Link("below", '1', "usr/below");
  tar.Node("console", '3', 5, 1).Node("disk", '4', 8, 0).Node("pipe", '6', 0, 0);
  tar.File("etc/.wh.gone", "").File("var/.wh..wh..opq", "").File("etc/.wh..wh.plnk", "with data");
  const std::string name = std::string(150, 'n') + "/" + std::string(120, 'm');
  tar.Pax(TarBuilder::Record("path", name) + TarBuilder::Record("SCHILY.xattr.user.davit", "value") +
          TarBuilder::Record("mtime", "1234567890.123456789"));
  tar.File("short", "long name and attributes");
  tar.Add("././@LongLink", 'L', name + "gnu" + std::string(1, '\0'), {});
  tar.File("short", "a long name in GNU's way");
  // Sparse, in the three ways of today.
  tar.Pax(TarBuilder::Record("GNU.sparse.major", "1") + TarBuilder::Record("GNU.sparse.minor", "0") +
          TarBuilder::Record("GNU.sparse.name", "sparse1") + TarBuilder::Record("GNU.sparse.realsize", "5000"));
  std::string map = "2\n0\n5\n4000\n7\n";
  map.resize(512, '\0');
  tar.File("GNUSparseFile.0/sparse1", map + "startmiddles");
  tar.Pax(TarBuilder::Record("GNU.sparse.map", "10,3,100,2") + TarBuilder::Record("GNU.sparse.size", "200") +
          TarBuilder::Record("GNU.sparse.name", "sparse01"));
  tar.File("sparse", "abcde");
  // A size in base 256, as sizes over 8 GiB have it; no name has to be as large for that.
  std::string header = TarBuilder::Header("binary", '0', 0, {});
  header[124] = static_cast<char>(0x80);
  std::fill(header.begin() + 125, header.begin() + 135, '\0');
  header[135] = 3;
  tar.Raw(TarBuilder::Sum(header)).Raw("abc" + std::string(509, 'p'));  // padding that is not zero
  ExpectExact(tar.Finish());
  ExpectExact(tar.Finish() + std::string(9 << 10, '\0'));
  ExpectExact(tar.Finish() + "what no reader looks at" + Noise(1'500'000, 5));
  ExpectExact(std::string(1024, '\0'));
  EXPECT_FALSE(Replaced("0"));
}

TEST_F(RootLayerJournalTest, WhatIsReplacedComesAgain) {
  TarBuilder tar;
  tar.Dir("d/").File("d/f", "first").File("d/f", "second, which is longer").File("d/f", "third").File("g", "of g");
  tar.Link("h", '1', "g").File("g", "another g");                                  // h goes on as it was
  tar.File("d/sub/x", "below").File("d/sub/y", "").Link("d/sub", '2', "nowhere");  // a directory with content
  tar.File("d/sub", "now a file").Dir("d/sub").File("d/sub/x", "again");
  tar.File("d", "a file in place of all");
  tar.Dir("d/").File("d/f", "at last");
  tar.File("e", "").File("e", "no longer empty").Dir("e/");
  ExpectExact(tar.Finish());
  EXPECT_TRUE(Replaced("0"));
}

TEST_F(RootLayerJournalTest, FilesBehindSymbolicLinksComeAgain) {
  TarBuilder tar;
  tar.Dir("real/").Dir("real/deep/").Link("link", '2', "/real").Link("real/up", '2', "..").Link("top", '2', "/");
  tar.File("link/a", "through a link").File("link/deep/b", "through it, and deeper").File("link/up/c", "up again");
  tar.File("top/in-root", "by the root").File("link/a", "a replaced one").File("top/in-root", "replaced too");
  tar.Dir("other/").Link("link", '2', "other").File("link/a", "elsewhere now");  // the link is another
  tar.File("link", "no link any more").File("real/deep", "no directory any more");
  ExpectExact(tar.Finish());
}

TEST_F(RootLayerJournalTest, HardLinksToWhatIsReplacedAreRefusedAsBefore) {
  TarBuilder tar;
  tar.Dir("d/").File("d/f", "content").Link("d", '1', "d/f");
  EXPECT_FALSE(Unpack(tar.Finish()).ok());
}

TEST_F(RootLayerJournalTest, ManyFilesCostLittle) {
  TarBuilder tar;
  for (int i = 0; i < 2000; ++i) tar.File("usr/share/a-directory/file-" + std::to_string(i), "x");
  ASSERT_TRUE(Unpack(tar.Finish()).ok());
  const uint64_t size = std::filesystem::file_size(layer() + "/journal");
  EXPECT_LT(size, 2000u * 32);
  EXPECT_EQ(charged_, size - kJournalMagic.size());
}

TEST_F(RootLayerJournalTest, AFileThatHasChangedIsNamed) {
  const std::string tar = TarBuilder().File("a", "kept").File("b", Noise(600'000, 1)).Finish();
  auto changed = [&](const std::function<void()>& change, const std::string& name) {
    Clear();
    ASSERT_TRUE(Unpack(tar).ok());
    change();
    Result<std::string> out = Export(tar);
    EXPECT_EQ(out.code(), StatusCode::kDataLoss);
    EXPECT_NE(out.status().message().find("\"" + name + "\""), std::string::npos) << out.status().ToString();
  };
  const std::string b = layer() + "/fs/b";
  changed([&] { WriteText(b, Noise(599'999, 1) + "x"); }, "b");
  changed([&] { WriteText(b, Noise(599'999, 1)); }, "b");
  changed([&] { std::filesystem::remove(b); }, "b");
  changed([&] { std::filesystem::remove(b), std::filesystem::create_directory(b); }, "b");
  changed([&] { std::filesystem::remove(b), std::filesystem::create_symlink("a", b); }, "b");
  changed([&] { std::filesystem::remove(b), ::mkfifo(b.c_str(), 0600); }, "b");
  changed([&] { WriteText(layer() + "/fs/a", "mept"); }, "a");
}

TEST_F(RootLayerJournalTest, ADamagedJournalIsDataLoss) {
  TarBuilder builder;
  for (int i = 0; i < 200; ++i) builder.File("dir/file-" + std::to_string(i), Noise(i, i)).File("again", Noise(i, 1));
  const std::string tar = builder.Finish();
  ASSERT_TRUE(Unpack(tar).ok());
  const std::string path = layer() + "/journal";
  const std::string whole = ReadText(path);
  for (size_t size = 0; size < whole.size(); size += size < 100 ? 1 : 37) {
    WriteText(path, whole.substr(0, size));
    EXPECT_EQ(Export(tar).code(), StatusCode::kDataLoss) << size;
  }
  for (size_t at = 0; at < whole.size(); at += at < 100 ? 1 : 11) {
    std::string wrong = whole;
    wrong[at] = static_cast<char>(wrong[at] ^ 0x15);
    WriteText(path, wrong);
    Result<std::string> out = Export(tar);
    // Which is the version's digit, and that of a window that this reader does not take.
    EXPECT_TRUE(out.code() == StatusCode::kDataLoss || out.code() == StatusCode::kUnimplemented)
        << at << " " << out.status().ToString();
  }
  std::filesystem::remove(path);
  EXPECT_EQ(Export(tar).code(), StatusCode::kFailedPrecondition);
  std::filesystem::create_symlink(dir_.At("outside"), path);
  EXPECT_FALSE(Export(tar).ok());
}

TEST_F(RootLayerJournalTest, ALyingJournalReadsNothingOutsideTheLayer) {
  std::filesystem::create_symlink(dir_.path(), layer() + "/fs/out");
  std::filesystem::create_directory(layer() + "/replaced");
  for (const std::string name :
       {"../../outside", "../journal", "../replaced", "/etc/passwd", "out/outside", "", ".", ".."}) {
    std::filesystem::remove(layer() + "/journal");
    Result<std::unique_ptr<LayerJournal>> journal = LayerJournal::Create(layer(), {});
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE((*journal)->File(name, 7, JournalChecksum(0, "outside")).ok());
    ASSERT_TRUE((*journal)->Finish().ok());
    Result<std::string> out = Export("outside");
    EXPECT_EQ(out.code(), StatusCode::kDataLoss) << name;
    EXPECT_NE(out.status().message().find("the file \"" + name + "\""), std::string::npos) << out.status().ToString();
  }
}

TEST_F(RootLayerJournalTest, WhatCannotBeToldIsSaidSo) {
  Result<std::unique_ptr<LayerJournal>> journal = LayerJournal::Create(layer(), {});
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE((*journal)->Raw(Noise(100'000, 1)).ok());
  (*journal)->Inexact("of the moon");
  ASSERT_TRUE((*journal)->Raw(Noise(100'000, 1)).ok());
  ASSERT_TRUE((*journal)->Finish().ok());
  EXPECT_LT(std::filesystem::file_size(layer() + "/journal"), 200u);
  Result<std::string> out = Export("x");
  EXPECT_EQ(out.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(out.status().message().find("of the moon"), std::string::npos) << out.status().ToString();
}

TEST_F(RootLayerJournalTest, WhoDoesNotWantItAnyMoreIsHeard) {
  const std::string tar = TarBuilder().File("a", Noise(600'000, 1)).Finish();
  ASSERT_TRUE(Unpack(tar).ok());
  Result<std::unique_ptr<LayerTar>> layer_tar = LayerTar::Open(layer(), [] { return Cancelled("enough"); });
  ASSERT_TRUE(layer_tar.ok());
  size_t bytes = 0;
  Status status = (*layer_tar)->Write(Sha256::Of(tar), [&](std::string_view piece) {
    bytes += piece.size();
    return Status();
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_LT(bytes, tar.size());
}

}  // namespace
}  // namespace davit::image
