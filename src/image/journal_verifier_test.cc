#include "image/journal_verifier.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "image/layer_journal.h"
#include "image/layer_writer.h"
#include "image/sha256.h"
#include "image/tar_builder.h"
#include "sys/temp_dir.h"

namespace davit::image {
namespace {

namespace fs = std::filesystem;

class OneText final : public ByteSource {
 public:
  explicit OneText(std::string_view text) : text_(text) {}
  Result<std::string_view> Next() override { return std::exchange(text_, {}); }

 private:
  std::string_view text_;
};

bool Always(uint64_t) { return true; }

// Needs root: the writer sets owners.
class RootJournalVerifierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "owners need root";
    fs::create_directories(Path());
    const std::string tar = TarBuilder()
                                .Dir("etc")
                                .File("etc/replaced", "before")
                                .File("etc/replaced", "after")
                                .File("etc/file", std::string(5000, 'x'))
                                .File("empty", "")
                                .Link("hard", '1', "etc/file")
                                .Finish();
    OneText source(tar);
    TarReader reader(source);
    auto writer = LayerWriter::Create(Path(), "layer", {});
    auto journal = LayerJournal::Create(dir_.At("layer"), {});
    ASSERT_TRUE(writer.ok() && journal.ok());
    reader.SetTap(journal->get());
    (*writer)->SetJournal(journal->get());
    ASSERT_TRUE((*writer)->WriteAll(reader).ok());
    ASSERT_TRUE(reader.Drain().ok());
    ASSERT_TRUE((*journal)->Finish().ok());
    layer_ = {Sha256::Of("any key: a layer of a stack has one of its own"), {}, Path(), {}, std::nullopt};
  }
  [[nodiscard]] std::string Path() const { return dir_.At("layer/fs"); }
  Result<store::LayerFindings> Verify() { return JournalVerifier().Verify(layer_, Always); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(Path() + "/" + name, std::ios::trunc) << text;
  }
  void ExpectDamage(const std::string& what) {
    Result<store::LayerFindings> found = Verify();
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    ASSERT_EQ(found->damages, 1U);
    EXPECT_NE(found->damaged[0].what.find(what), std::string::npos) << found->damaged[0].what;
    EXPECT_FALSE(fs::exists(dir_.At("layer/checksums"))) << "no list of what is damaged";
  }

  sys::TempDir dir_;
  store::Layer layer_;
};

TEST_F(RootJournalVerifierTest, WhatWasUnpackedIsWholeAndGetsItsList) {
  Result<store::LayerFindings> found = Verify();
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->damages, 0U);
  EXPECT_EQ(found->method, "journal");
  EXPECT_TRUE(fs::exists(dir_.At("layer/checksums")));
  found = store::ChecksumVerifier().Verify(layer_, Always);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->damages, 0U);
}

TEST_F(RootJournalVerifierTest, BytesThatChangedBeforeTheFirstVerificationAreFound) {
  // The counts are as they were.
  Write("etc/file", std::string(4999, 'x') + "y");
  ExpectDamage("\"etc/file\" of the layer has changed");
}

TEST_F(RootJournalVerifierTest, AFileThatIsGoneOrShorterIsFound) {
  Write("etc/file", "x");
  ExpectDamage("is shorter");
  fs::remove(Path() + "/etc/file");
  ExpectDamage("cannot be opened");
}

TEST_F(RootJournalVerifierTest, ADamagedJournalIsDamage) {
  fs::resize_file(dir_.At("layer/journal"), fs::file_size(dir_.At("layer/journal")) - 3);
  ExpectDamage("cut short");
}

TEST_F(RootJournalVerifierTest, WithoutAJournalAnotherVerifierDecides) {
  fs::remove(dir_.At("layer/journal"));
  EXPECT_EQ(Verify().code(), StatusCode::kNotFound);
  auto journal = LayerJournal::Create(dir_.At("layer"), {});
  ASSERT_TRUE(journal.ok());
  (*journal)->Inexact("a reason");
  ASSERT_TRUE((*journal)->Finish().ok());
  EXPECT_EQ(Verify().code(), StatusCode::kNotFound);
}

TEST_F(RootJournalVerifierTest, CanBeEnded) {
  EXPECT_EQ(JournalVerifier().Verify(layer_, [](uint64_t) { return false; }).code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace davit::image
