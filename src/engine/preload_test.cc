#include "engine/preload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "store/test_dir.h"
#include "sys/atomic_file.h"

namespace davit::engine {
namespace {

using store::WriteText;
using testing::ElementsAre;

class PreloadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(database_, store::Database::Open(dir_ / "davit.db"));
    ASSERT_OK(sys::MakeDirectories(dir_ / "preload", 0755));
  }
  void File(const std::string& name, const std::string& text = "x") { WriteText(dir_ / ("preload/" + name), text); }

  // One start, to its end; what was loaded: "name#image".
  std::vector<std::string> Start() {
    std::vector<std::string> loaded;
    Result<std::unique_ptr<Preload>> made = Preload::Create(
        *database_, dir_ / "preload",
        [&](const std::string& path, uint32_t image, const image::PullCancel&) -> Result<image::Puller::Loaded> {
          const std::string name = path.substr(path.rfind('/') + 1);
          if (name == broken_) return DataLoss("it is broken");
          loaded.push_back(name + "#" + std::to_string(image));
          image::Puller::Loaded out;
          out.record.id = "id of " + name;
          out.images = name == "many" ? 3 : 1;
          return out;
        });
    EXPECT_TRUE(made.ok());
    preload_ = std::move(*made);
    preload_->Start();
    Wait();
    return loaded;
  }
  void Wait() {
    while (preload_->Read().running) std::this_thread::yield();
  }

  store::TestDir dir_;
  std::string broken_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<Preload> preload_;
};

TEST_F(PreloadTest, EachFileOnceInOrder) {
  File("b.tar");
  File("a.tar");
  File("many");
  File(".hidden");
  ASSERT_OK(sys::MakeDirectories(dir_ / "preload/layout", 0755));
  File("layout/index.json");
  EXPECT_THAT(Start(), ElementsAre("a.tar#0", "b.tar#0", "layout#0", "many#0", "many#1", "many#2"));
  EXPECT_EQ(preload_->Read().loaded, 4U);
  EXPECT_EQ(preload_->Read().images, 6U);
  EXPECT_EQ(preload_->Summary(), "4 of 4 files are loaded");
  EXPECT_EQ(preload_->Hint(), "");
  EXPECT_THAT(Start(), ElementsAre());
  EXPECT_EQ(preload_->Read().known, 4U);
  File("a.tar", "another");
  File("layout/index.json", "another");
  EXPECT_THAT(Start(), ElementsAre("a.tar#0", "layout#0"));
  ::unlink((dir_ / "preload/b.tar").c_str());
  EXPECT_THAT(Start(), ElementsAre());
  File("b.tar");
  EXPECT_THAT(Start(), ElementsAre("b.tar#0")) << "one that was away is new";
}

TEST_F(PreloadTest, AFailureIsToldAndTriedAgain) {
  File("a.tar");
  File("b.tar");
  ASSERT_OK(sys::MakeDirectories(dir_ / "preload/nothing", 0755));
  broken_ = "a.tar";
  EXPECT_THAT(Start(), ElementsAre("b.tar#0"));
  EXPECT_EQ(preload_->Read().failed, 2U);
  EXPECT_THAT(preload_->Summary(),
              testing::StartsWith("1 of 3 files are loaded; a.tar: it is broken; nothing: it is a"));
  broken_ = "";
  EXPECT_THAT(Start(), ElementsAre("a.tar#0"));
}

TEST_F(PreloadTest, ADirectoryThatOthersWriteToIsLeftAlone) {
  File("a.tar");
  ASSERT_EQ(::chmod((dir_ / "preload").c_str(), 0777), 0);
  EXPECT_THAT(Start(), ElementsAre());
  EXPECT_THAT(preload_->Summary(), testing::HasSubstr("others may write"));
}

TEST_F(PreloadTest, WithoutADirectoryThereIsNothing) {
  ASSERT_EQ(::rmdir((dir_ / "preload").c_str()), 0);
  EXPECT_THAT(Start(), ElementsAre());
  EXPECT_EQ(preload_->Summary(), "");
}

TEST_F(PreloadTest, ALostImageIsLoadedAgain) {
  File("a.tar");
  File("b.tar");
  std::vector<std::string> loaded = Start();
  EXPECT_THAT(loaded, ElementsAre("a.tar#0", "b.tar#0"));
  ASSERT_OK_AND_ASSIGN(std::vector<store::Record> before, database_->LoadAll(store::Kind::kIntent));
  EXPECT_EQ(before.size(), 2U);
  preload_->ImageLost("id of none");
  EXPECT_EQ(preload_->Read().known, 0U);
  broken_ = "b.tar";
  preload_->ImageLost("id of b.tar");
  Wait();
  EXPECT_EQ(preload_->Read().known, 1U);
  EXPECT_EQ(preload_->Read().failed, 1U) << "it was tried again at once";
}

TEST_F(PreloadTest, TheEndDoesNotWaitForALoad) {
  File("a.tar");
  File("b.tar");
  std::atomic<int> calls = 0;
  ASSERT_OK_AND_ASSIGN(preload_, Preload::Create(*database_, dir_ / "preload",
                                                 [&](const std::string&, uint32_t,
                                                     const image::PullCancel& cancel) -> Result<image::Puller::Loaded> {
                                                   ++calls;
                                                   uint64_t count = 0;
                                                   while (::read(cancel.fd(), &count, sizeof count) < 0)
                                                     std::this_thread::yield();
                                                   return Cancelled("cancelled");
                                                 }));
  preload_->Start();
  while (calls == 0) std::this_thread::yield();
  EXPECT_THAT(preload_->Hint(), testing::HasSubstr("0 of 2 files"));
  preload_.reset();
  EXPECT_EQ(calls, 1);
  ASSERT_OK_AND_ASSIGN(std::vector<store::Record> intents, database_->LoadAll(store::Kind::kIntent));
  EXPECT_TRUE(intents.empty());
}

}  // namespace
}  // namespace davit::engine
