#include "engine/verification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>

#include "store/content.h"
#include "store/test_dir.h"
#include "store/trash.h"
#include "sys/atomic_file.h"

namespace davit::engine {
namespace {

using store::TestDir;
using store::WriteText;

class VerificationTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(); }

  void Start() {
    verification_.reset();
    images_.reset();
    layers_.reset();
    content_.reset();
    trash_.reset();
    database_.reset();
    ASSERT_OK_AND_ASSIGN(database_, store::Database::Open(dir_ / "davit.db"));
    ASSERT_OK_AND_ASSIGN(trash_, store::Trash::Open(dir_.path()));
    ASSERT_OK_AND_ASSIGN(content_, store::Content::Open(dir_.path()));
    ASSERT_OK_AND_ASSIGN(layers_, store::DirectoryLayers::Open(dir_.path(), *database_, *trash_));
    images_ = std::make_unique<image::Images>(*database_, *content_, *layers_,
                                              [this](const std::string& layer) { return layer == in_use_; });
    ASSERT_OK(layers_->Recover().status());
    ASSERT_OK(images_->Recover());
    verification_ = std::make_unique<Verification>(*database_, *content_, *layers_, *images_);
  }

  static oci::Digest LayerOf(char digit) {
    return *oci::Digest::ParseHex(oci::DigestAlgorithm::kSha256, std::string(64, digit));
  }
  void AddLayer(char digit) {
    ASSERT_OK_AND_ASSIGN(store::LayerStaging staging, layers_->Begin(LayerOf(digit)));
    WriteText(staging.fs() + "/file", std::string(100, digit));
    ASSERT_OK(layers_->Commit(std::move(staging), {}));
  }
  // Its config is `mark`, which has to be one of the known texts below.
  void AddImage(const std::string& config, const std::string& id, const std::vector<char>& layers) {
    image::ImageRecord record;
    record.id = id;
    record.manifest_digest = id;
    record.repo_tags = {"host.test/image:" + config};
    for (char digit : layers) {
      if (!layers_->Has(LayerOf(digit))) AddLayer(digit);
      record.layers.push_back(LayerOf(digit).ToString());
    }
    ASSERT_OK(content_->Put(*oci::Digest::Parse(id), config));
    ASSERT_OK(images_->Commit(record).status());
  }
  std::string File(char digit) { return layers_->Find(LayerOf(digit))->path + "/file"; }

  Result<VerifyReport> Verify(const std::vector<std::string>& names = {}, std::function<bool()> wanted = {}) {
    std::promise<Result<VerifyReport>> done;
    verification_->Start(names, {{}, std::move(wanted)}, [&](const Result<VerifyReport>& r) { done.set_value(r); });
    return done.get_future().get();
  }
  void WaitForPending() {
    for (;;) {
      Result<std::vector<store::Record>> intents = database_->LoadAll(store::Kind::kIntent);
      ASSERT_TRUE(intents.ok());
      bool left = false;
      for (const store::Record& intent : *intents) left = left || intent.id.starts_with("unverified/");
      if (!left) return;
      std::this_thread::yield();
    }
  }

  // SHA-256 of "a" and of "b".
  const std::string a_ = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
  const std::string b_ = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";
  TestDir dir_;
  std::string in_use_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::Trash> trash_;
  std::unique_ptr<store::Content> content_;
  std::unique_ptr<store::DirectoryLayers> layers_;
  std::unique_ptr<image::Images> images_;
  std::unique_ptr<Verification> verification_;
};

TEST_F(VerificationTest, WholeImagesAreWhole) {
  AddImage("a", a_, {'1', '2'});
  AddImage("b", b_, {'2', '3'});
  ASSERT_OK_AND_ASSIGN(VerifyReport first, Verify());
  EXPECT_EQ(first.images, 2U);
  EXPECT_EQ(first.layers, 3U) << "shared ones once";
  EXPECT_EQ(first.first_time, 3U);
  EXPECT_TRUE(first.damage.empty());
  ASSERT_OK_AND_ASSIGN(VerifyReport second, Verify({"host.test/image:a"}));
  EXPECT_EQ(second.layers, 2U);
  EXPECT_EQ(second.first_time, 0U);
  EXPECT_EQ(second.bytes_read, 200U);
  EXPECT_EQ(Verify({"host.test/none:1"}).code(), StatusCode::kNotFound);
  EXPECT_EQ(Verify({}, [] { return false; }).code(), StatusCode::kCancelled);
}

TEST_F(VerificationTest, ADamagedLayerGoesAwayWithItsImagesAndTheRestIsHeld) {
  AddImage("a", a_, {'1', '2'});
  AddImage("b", b_, {'3'});
  ASSERT_OK(Verify().status());
  WriteText(File('1'), "other");
  ASSERT_OK_AND_ASSIGN(VerifyReport report, Verify());
  ASSERT_EQ(report.damage.size(), 1U);
  EXPECT_EQ(report.damage[0].digest, LayerOf('1').ToString());
  EXPECT_EQ(report.damage[0].images, std::vector<std::string>{"host.test/image:a"});
  EXPECT_EQ(report.damage[0].damaged[0].path, "file");
  EXPECT_FALSE(report.damage[0].in_use);
  EXPECT_TRUE(std::filesystem::exists(report.damage[0].quarantine + "/fs/file"));
  EXPECT_EQ(images_->List()->size(), 1U);
  EXPECT_FALSE(layers_->Has(LayerOf('1')));
  ASSERT_OK(images_->CollectLayers());
  EXPECT_TRUE(layers_->Has(LayerOf('2'))) << "a pull need not fetch it";
  // As a pull does it.
  AddImage("a", a_, {'1', '2'});
  verification_->Release(false);
  ASSERT_OK_AND_ASSIGN(VerifyReport healed, Verify());
  EXPECT_TRUE(healed.damage.empty());
  ASSERT_OK(images_->Remove(a_));
  EXPECT_FALSE(layers_->Has(LayerOf('2'))) << "nobody holds it any more";
}

// The start verifies in the background while somebody asks: the list that one makes is no damage for the other.
TEST_F(VerificationTest, TwoVerificationsOfOneLayerAtOnceFindNoDamage) {
  AddImage("a", a_, {'1', '2', '3'});
  ASSERT_OK(verification_->ResumeAfter("one boot"));
  Start();
  ASSERT_OK(verification_->ResumeAfter("another boot"));
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK_AND_ASSIGN(VerifyReport report, Verify());
    EXPECT_TRUE(report.damage.empty());
    EXPECT_TRUE(report.unchecked.empty()) << report.unchecked[0];
  }
  WaitForPending();
  EXPECT_TRUE(layers_->Has(LayerOf('1')) && layers_->Has(LayerOf('2')) && layers_->Has(LayerOf('3')));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "quarantine"));
}

TEST_F(VerificationTest, TwoDamagedLayersOfOneImageBothGo) {
  AddImage("a", a_, {'1', '2', '3'});
  ASSERT_OK(Verify().status());
  WriteText(File('1'), "other");
  WriteText(File('2'), "other");
  ASSERT_OK_AND_ASSIGN(VerifyReport report, Verify());
  ASSERT_EQ(report.damage.size(), 2U);
  for (const Damage& damage : report.damage) {
    EXPECT_FALSE(damage.in_use);
    EXPECT_EQ(damage.images, std::vector<std::string>{"host.test/image:a"});
  }
  EXPECT_FALSE(layers_->Has(LayerOf('2')));
  EXPECT_TRUE(layers_->Has(LayerOf('3')));
  verification_->Release(true);
  EXPECT_FALSE(layers_->Has(LayerOf('3'))) << "after its hour";
}

TEST_F(VerificationTest, ALayerInUseIsMarked) {
  AddImage("a", a_, {'1'});
  ASSERT_OK(Verify().status());
  WriteText(File('1'), "other");
  in_use_ = LayerOf('1').ToString();
  ASSERT_OK_AND_ASSIGN(VerifyReport report, Verify());
  ASSERT_EQ(report.damage.size(), 1U);
  EXPECT_TRUE(report.damage[0].in_use);
  EXPECT_THAT(layers_->Damaged(LayerOf('1')).value_or(""), testing::HasSubstr("file: its content"));
  EXPECT_EQ(images_->List()->size(), 1U);
  EXPECT_TRUE(layers_->Has(LayerOf('1')));
}

TEST_F(VerificationTest, ADamagedManifestIsForgotten) {
  AddImage("a", a_, {'1'});
  WriteText(dir_ / ("content/sha256/" + a_.substr(7)), "x");
  ASSERT_OK_AND_ASSIGN(VerifyReport report, Verify());
  ASSERT_EQ(report.damage.size(), 2U) << "as config and as manifest: one blob here";
  EXPECT_EQ(report.damage[0].kind, Damage::Kind::kConfig);
  EXPECT_EQ(report.damage[1].kind, Damage::Kind::kManifest);
  EXPECT_TRUE(images_->List()->empty());
  ASSERT_OK(images_->CollectLayers());
  EXPECT_TRUE(layers_->Has(LayerOf('1')));
}

TEST_F(VerificationTest, AStartVerifiesWhatTheMachineWentDownWith) {
  AddImage("a", a_, {'1', '2'});
  ASSERT_OK(Verify().status());
  ASSERT_OK(verification_->ResumeAfter("boot 1"));
  WriteText(File('1'), "other");
  Start();
  ASSERT_OK(verification_->ResumeAfter("boot 1"));
  EXPECT_TRUE(layers_->Has(LayerOf('1'))) << "davitd alone was killed: the kernel has written everything";
  Start();
  ASSERT_OK(verification_->ResumeAfter("boot 2"));
  WaitForPending();
  EXPECT_FALSE(layers_->Has(LayerOf('1')));
  EXPECT_TRUE(images_->List()->empty());
  AddImage("a", a_, {'1', '2'});
  verification_->NoteCleanStop();
  WriteText(File('2'), "other");
  Start();
  ASSERT_OK(verification_->ResumeAfter("boot 3"));
  WaitForPending();
  EXPECT_TRUE(layers_->Has(LayerOf('2'))) << "a clean stop";
}

}  // namespace
}  // namespace davit::engine
