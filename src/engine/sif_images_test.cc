#include "engine/sif_images.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace davit::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SifImagesTest : public ::testing::Test {
 protected:
  SifImagesTest() {
    fs::create_directories(root_ / "allowed");
    fs::create_directories(root_ / "allowed-not");
    for (const char* name : {"allowed/a.sif", "allowed-not/b.sif"}) std::ofstream(root_ / name) << "x";
    config_.enabled = true;
    config_.allowed_dirs = {(root_ / "allowed").string()};
  }
  ~SifImagesTest() override { fs::remove_all(root_); }

  [[nodiscard]] Result<std::optional<image::SifSource>> SourceOf(const std::string& text) const {
    Result<image::Reference> reference = image::Reference::Parse(text);
    if (!reference.ok()) return reference.status();
    return SifSourceOf(config_, *reference);
  }
  [[nodiscard]] std::string Local(const std::string& name) const { return "local.file" + (root_ / name).string(); }

  const fs::path root_ = fs::temp_directory_path() / fmt::format("davit-sif-images-{}", ::getpid());
  config::SifConfig config_;
};

TEST_F(SifImagesTest, RegistriesHaveNoSifFiles) {
  auto source = SourceOf("docker.io/library/busybox");
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_FALSE(source->has_value());
}

TEST_F(SifImagesTest, LocalFilesAreBelowAnAllowedDirectory) {
  auto source = SourceOf(Local("allowed/a.sif"));
  ASSERT_TRUE(source.ok() && source->has_value()) << source.status().ToString();
  EXPECT_EQ((*source)->path, fs::canonical(root_ / "allowed/a.sif"));
  EXPECT_EQ((*source)->library, "");
  // Not what only begins like it, and no answer whether a file elsewhere is there.
  EXPECT_EQ(SourceOf(Local("allowed-not/b.sif")).code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(SourceOf(Local("allowed-not/none.sif")).code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(SourceOf(Local("allowed/none.sif")).code(), StatusCode::kNotFound);
}

TEST_F(SifImagesTest, LinksDoNotLeadOut) {
  fs::create_symlink(root_ / "allowed-not/b.sif", root_ / "allowed/out.sif");
  fs::create_symlink(root_ / "allowed/a.sif", root_ / "allowed/in.sif");
  EXPECT_EQ(SourceOf(Local("allowed/out.sif")).code(), StatusCode::kPermissionDenied);
  auto source = SourceOf(Local("allowed/in.sif"));
  ASSERT_TRUE(source.ok() && source->has_value()) << source.status().ToString();
  EXPECT_EQ((*source)->path, fs::canonical(root_ / "allowed/a.sif"));
}

TEST_F(SifImagesTest, NothingIsAllowedUntilConfigured) {
  config_.allowed_dirs.clear();
  EXPECT_EQ(SourceOf(Local("allowed/a.sif")).code(), StatusCode::kFailedPrecondition);
  config_ = config::SifConfig();
  EXPECT_THAT(SourceOf("library://a/b/c").status().message(), HasSubstr("image.sif.enabled"));
  EXPECT_EQ(SourceOf(Local("allowed/a.sif")).code(), StatusCode::kFailedPrecondition);
}

TEST_F(SifImagesTest, DomainsHaveTheirLibraries) {
  config_.libraries = {"cloud.sylabs.io=https://one.test", "sif.test:99=http://two.test:80"};
  for (const auto& [text, url] :
       {std::pair("library://a/b/c:1", "https://one.test"), std::pair("cloud.sylabs.io/a/b/c", "https://one.test"),
        std::pair("sif.test:99/a/b/c", "http://two.test:80")}) {
    auto source = SourceOf(text);
    ASSERT_TRUE(source.ok() && source->has_value()) << text << ": " << source.status().ToString();
    EXPECT_EQ((*source)->library, url);
    EXPECT_EQ((*source)->path, "");
  }
}

TEST_F(SifImagesTest, FilesHaveNoTags) {
  EXPECT_EQ(SourceOf(Local("allowed/a.sif") + ":2").code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(SourceOf(Local("allowed/a.sif") + ":latest").ok());
}

}  // namespace
}  // namespace davit::engine
