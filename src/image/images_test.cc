#include "image/images.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "image/sha256.h"
#include "oci/image_spec.h"
#include "store/content.h"
#include "store/database.h"
#include "store/layers.h"
#include "store/trash.h"
#include "sys/atomic_file.h"

namespace davit::image {
namespace {

std::string DigestOf(const std::string& text) { return Sha256::Of(text).ToString(); }

class ImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/images-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
    Open();
  }
  void TearDown() override {
    Close();
    EXPECT_TRUE(sys::RemoveTree(root_).ok());
  }
  void Open() {
    database_ = std::move(*store::Database::Open(root_ + "/davit.db"));
    trash_ = std::move(*store::Trash::Open(root_));
    layers_ = std::move(*store::DirectoryLayers::Open(root_, *database_, *trash_));
    content_ = std::move(*store::Content::Open(root_));
    ASSERT_TRUE(layers_->Recover().ok());
    images_ = std::make_unique<Images>(*database_, *content_, *layers_,
                                       [this](const std::string& layer) { return in_use_.count(layer) > 0; });
    Status status = images_->Recover();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Close() {
    images_.reset();
    content_.reset();
    layers_.reset();
    trash_.reset();
    database_.reset();
  }
  std::string AddLayer(const std::string& name) {
    oci::Digest digest = Sha256::Of(name);
    auto staging = layers_->Begin(digest);
    EXPECT_TRUE(staging.ok()) << staging.status().ToString();
    EXPECT_TRUE(layers_->Commit(std::move(*staging), {10, 1}).ok());
    return digest.ToString();
  }
  // An image whose content is made from its name.
  ImageRecord MakeImage(const std::string& name, const std::vector<std::string>& layers) {
    std::string config = R"({"architecture":"amd64","os":"linux","config":{"User":"1002"},"author":")" + name +
                         R"(","rootfs":{"type":"layers","diff_ids":[)";
    for (size_t i = 0; i < layers.size(); ++i) config += (i > 0 ? ",\"" : "\"") + layers[i] + "\"";
    config += "]}}";
    const std::string manifest = "manifest of " + name;
    EXPECT_TRUE(content_->Put(Sha256::Of(config), config).ok());
    EXPECT_TRUE(content_->Put(Sha256::Of(manifest), manifest).ok());
    ImageRecord record;
    record.id = DigestOf(config);
    record.manifest_digest = DigestOf(manifest);
    record.layers = layers;
    record.user = "1002";
    return record;
  }
  bool HasLayer(const std::string& layer) { return layers_->Has(*oci::Digest::Parse(layer)); }

  std::string root_;
  std::set<std::string> in_use_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::Trash> trash_;
  std::unique_ptr<store::DirectoryLayers> layers_;
  std::unique_ptr<store::Content> content_;
  std::unique_ptr<Images> images_;
};

TEST_F(ImagesTest, ResolvesEveryKindOfName) {
  const std::string digest = DigestOf("index");
  ImageRecord record = MakeImage("a", {AddLayer("l1")});
  record.repo_tags = {"docker.io/library/a:latest"};
  record.repo_digests = {"docker.io/library/a@" + digest};
  ASSERT_TRUE(images_->Commit(record).ok());
  for (const std::string& name :
       {std::string("a"), std::string("a:latest"), std::string("docker.io/library/a"), "a@" + digest, record.id,
        record.id.substr(7), record.id.substr(7, 12), record.id.substr(0, 15)}) {
    Result<ImageRecord> found = images_->Resolve(name);
    ASSERT_TRUE(found.ok()) << name << ": " << found.status().ToString();
    EXPECT_EQ(*found, record);
  }
  EXPECT_EQ(images_->Resolve("b").code(), StatusCode::kNotFound);
  EXPECT_EQ(images_->Resolve("a:other").code(), StatusCode::kNotFound);
  EXPECT_EQ(images_->Resolve(std::string(64, '0')).code(), StatusCode::kNotFound);
  EXPECT_EQ(images_->Resolve("A/B").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ((*images_->Config(record))->user, "1002");
}

// Of a SIF file the id is the file's digest, of which there is no blob.
TEST_F(ImagesTest, ConfigBesideTheId) {
  ImageRecord record = MakeImage("a", {AddLayer("l1")});
  record.config_digest = std::exchange(record.id, DigestOf("the file"));
  record.command_prefix = {"/exec"};
  record.repo_tags = {"local.file/a.sif:latest"};
  ASSERT_TRUE(images_->Commit(record).ok());
  const oci::Digest config = *oci::Digest::Parse(record.config_digest);
  Close();
  Open();
  Result<ImageRecord> found = images_->Resolve("local.file/a.sif");
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(*found, record);
  EXPECT_EQ((*images_->Config(*found))->user, "1002");
  ASSERT_TRUE(images_->Remove(record.id).ok());
  EXPECT_FALSE(content_->Get(config).ok());
}

TEST_F(ImagesTest, AmbiguousPrefixIsAnError) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(images_->Commit(MakeImage("i" + std::to_string(i), {})).ok());
  // Forty ids share some first three digits only by luck: so build the case from two that do not.
  std::set<std::string> prefixes;
  for (const ImageRecord& record : *images_->List()) prefixes.insert(record.id.substr(7, 3));
  for (const std::string& prefix : prefixes) {
    size_t count = 0;
    for (const ImageRecord& record : *images_->List()) count += record.id.substr(7, 3) == prefix ? 1 : 0;
    EXPECT_EQ(images_->Resolve(prefix).code(), count == 1 ? StatusCode::kOk : StatusCode::kInvalidArgument);
  }
}

TEST_F(ImagesTest, TagMovesAndTheOldImageStaysById) {
  const std::string shared = AddLayer("shared");
  ImageRecord old_image = MakeImage("old", {shared});
  old_image.repo_tags = {"h.io/a:1"};
  ImageRecord new_image = MakeImage("new", {shared, AddLayer("top")});
  new_image.repo_tags = {"h.io/a:1"};
  ASSERT_TRUE(images_->Commit(old_image).ok());
  ASSERT_TRUE(images_->Commit(new_image).ok());
  EXPECT_EQ(images_->Resolve("h.io/a:1")->id, new_image.id);
  EXPECT_TRUE(images_->Resolve(old_image.id)->repo_tags.empty());
  // Another tag for the same content joins.
  new_image.repo_tags = {"h.io/a:2"};
  EXPECT_EQ(images_->Commit(new_image)->repo_tags, (std::vector<std::string>{"h.io/a:1", "h.io/a:2"}));
  // A shared layer stays as long as one image has it.
  ASSERT_TRUE(images_->Remove(new_image.id).ok());
  EXPECT_TRUE(HasLayer(shared));
  EXPECT_EQ(images_->List()->size(), 1u);
  ASSERT_TRUE(images_->Remove(old_image.id).ok());
  EXPECT_FALSE(HasLayer(shared));
}

TEST_F(ImagesTest, RemovingByOneNameRemovesAll) {
  ImageRecord record = MakeImage("a", {AddLayer("l")});
  record.repo_tags = {"h.io/a:1", "other.io/b:2"};
  ASSERT_TRUE(images_->Commit(record).ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&] {
      EXPECT_TRUE(images_->Remove("h.io/a:1").ok());
      EXPECT_EQ(images_->Resolve("other.io/b:2").code(), StatusCode::kNotFound);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(images_->Remove(record.id).ok());
  EXPECT_FALSE(content_->Has(*oci::Digest::Parse(record.id)));
  EXPECT_TRUE(layers_->List().empty());
}

TEST_F(ImagesTest, HeldAndUsedLayersStay) {
  const std::string held = AddLayer("held"), used = AddLayer("used"), free = AddLayer("free");
  ImageRecord record = MakeImage("a", {held, used, free});
  ASSERT_TRUE(images_->Commit(record).ok());
  in_use_.insert(used);
  {
    LayerHold hold = images_->Hold({held});
    ASSERT_TRUE(images_->Remove(record.id).ok());
    EXPECT_TRUE(HasLayer(held));
    EXPECT_TRUE(HasLayer(used));
    EXPECT_FALSE(HasLayer(free));
  }
  in_use_.clear();
  ASSERT_TRUE(images_->CollectLayers().ok());
  EXPECT_TRUE(layers_->List().empty());
}

TEST_F(ImagesTest, ANameWithoutARegistryBelongsToTheConfiguredOne) {
  ImageRecord record = MakeImage("a", {});
  record.repo_tags = {"h.io/a:1", "h.io/a:2"};
  record.repo_digests = {"h.io/a@" + DigestOf("m")};
  ASSERT_TRUE(images_->Commit(record).ok());
  EXPECT_EQ(images_->Resolve("a:1").code(), StatusCode::kNotFound);
  Images configured(*database_, *content_, *layers_, nullptr, ShortNames("h.io"));
  ASSERT_TRUE(configured.Recover().ok());
  ASSERT_TRUE(configured.Resolve("a:1").ok());
  EXPECT_EQ(configured.Resolve("a:1")->id, record.id);
  ASSERT_TRUE(configured.Untag("a:1").ok());
  ASSERT_TRUE(configured.Remove("a:2").ok());
  EXPECT_EQ(configured.Resolve(record.id).code(), StatusCode::kNotFound);
}

TEST_F(ImagesTest, UntagTakesTheLastNameWithTheImage) {
  ImageRecord record = MakeImage("a", {});
  record.repo_tags = {"h.io/a:1", "h.io/a:2"};
  record.repo_digests = {"h.io/a@" + DigestOf("m")};
  ASSERT_TRUE(images_->Commit(record).ok());
  ASSERT_TRUE(images_->Untag("h.io/a:1").ok());
  EXPECT_EQ(images_->Untag("h.io/a:1").code(), StatusCode::kNotFound);
  EXPECT_TRUE(images_->Resolve(record.id).ok());
  ASSERT_TRUE(images_->Untag("h.io/a:2").ok());
  EXPECT_EQ(images_->Resolve(record.id).code(), StatusCode::kNotFound);
}

TEST_F(ImagesTest, RecoverKeepsWhatIsWholeAndDropsTheRest) {
  const std::string kept = AddLayer("kept"), lost = AddLayer("lost");
  ImageRecord good = MakeImage("good", {kept});
  good.repo_tags = {"h.io/good:1"};
  good.pinned = true;
  ImageRecord bad = MakeImage("bad", {kept, lost});
  ImageRecord blobless = MakeImage("blobless", {kept});
  ASSERT_TRUE(images_->Commit(good).ok() && images_->Commit(bad).ok() && images_->Commit(blobless).ok());
  const std::string orphan = AddLayer("orphan");
  ASSERT_TRUE(content_->Remove(*oci::Digest::Parse(blobless.id)).ok());
  ASSERT_TRUE(database_->Put(store::Kind::kImage, "garbage", "{", store::Durability::kAtomic).ok());
  const std::string path = *layers_->Path(*oci::Digest::Parse(lost));
  Close();
  ASSERT_TRUE(sys::RemoveTree(path.substr(0, path.rfind('/'))).ok());
  Open();
  ASSERT_EQ(images_->List()->size(), 1u);
  EXPECT_EQ(images_->List()->front(), good);
  EXPECT_FALSE(HasLayer(orphan));
  EXPECT_TRUE(HasLayer(kept));
}

}  // namespace
}  // namespace davit::image
