// Whole pulls: Puller, davit-pull and a registry on loopback.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "image/images.h"
#include "image/puller.h"
#include "image/sha256.h"
#include "image/tar_builder.h"
#include "oci/image_spec.h"
#include "store/content.h"
#include "store/database.h"
#include "store/layers.h"
#include "store/trash.h"
#include "sys/atomic_file.h"
#include "sys/cgroup.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::image {
namespace {

constexpr auto kLong = std::chrono::seconds(60);
#if defined(__SANITIZE_ADDRESS__) || defined(DAVIT_TSAN)
constexpr bool kSanitized = true;
#elif defined(__has_feature)  // clang says it this way
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

std::string Gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}
std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}
std::string DigestOf(const std::string& text) { return Sha256::Of(text).ToString(); }

std::string OwnDirectory() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  std::string exe(path, n > 0 ? static_cast<size_t>(n) : 0);
  return exe.substr(0, exe.rfind('/'));
}
bool Installed(const std::string& program) {
  return ::access(("/usr/bin/" + program).c_str(), X_OK) == 0 || ::access(("/bin/" + program).c_str(), X_OK) == 0;
}

// An OCI layout on disk: what the fake registry serves and skopeo copies.
class Layout {
 public:
  explicit Layout(std::string dir) : dir_(std::move(dir)) {
    EXPECT_TRUE(sys::MakeDirectories(dir_ + "/blobs/sha256", 0755).ok());
    EXPECT_TRUE(sys::MakeDirectories(dir_ + "/tags", 0755).ok());
    Write("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  }
  void Write(const std::string& name, const std::string& text) { std::ofstream(dir_ + "/" + name) << text; }
  std::string Blob(const std::string& text) {
    std::string digest = DigestOf(text);
    Write("blobs/sha256/" + digest.substr(7), text);
    return digest;
  }
  static std::string Descriptor(std::string_view type, const std::string& digest, size_t size,
                                const std::string& more = "") {
    return R"({"mediaType":")" + std::string(type) + R"(","digest":")" + digest + R"(","size":)" +
           std::to_string(size) + more + "}";
  }
  struct LayerText {
    std::string tar;
    std::string_view media_type;
    std::string lie = {};  // another diff ID than the true one
  };
  // Returns the manifest's descriptor, with the platform of this machine.
  std::string Image(const std::string& tag, const std::vector<LayerText>& layers) {
    std::string diff_ids, descriptors;
    for (const LayerText& layer : layers) {
      std::string blob = layer.media_type.ends_with("gzip")   ? Gzip(layer.tar)
                         : layer.media_type.ends_with("zstd") ? Zstd(layer.tar)
                                                              : layer.tar;
      diff_ids += (diff_ids.empty() ? "\"" : ",\"") + (layer.lie.empty() ? DigestOf(layer.tar) : layer.lie) + "\"";
      descriptors += (descriptors.empty() ? "" : ",") + Descriptor(layer.media_type, Blob(blob), blob.size());
    }
    const std::string arch = oci::HostPlatform().architecture;
    const std::string config = R"({"architecture":")" + arch +
                               R"(","os":"linux","config":{"User":"www-data"},"author":")" + tag +
                               R"(","rootfs":{"type":"layers","diff_ids":[)" + diff_ids + "]}}";
    id = Blob(config);
    const std::string manifest =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":)" +
        Descriptor(oci::kMediaOciConfig, id, config.size()) + R"(,"layers":[)" + descriptors + "]}";
    manifest_digest = Blob(manifest);
    Write("tags/" + tag, manifest_digest);
    std::string descriptor = Descriptor(oci::kMediaOciManifest, manifest_digest, manifest.size(),
                                        R"(,"platform":{"os":"linux","architecture":")" + arch + R"("})");
    Write("index.json", R"({"schemaVersion":2,"manifests":[)" + descriptor + "]}");
    return descriptor;
  }
  std::string id;  // of the last Image
  std::string manifest_digest;

 private:
  std::string dir_;
};

class RootPullTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "unpacking layers needs root";
    if (::access((OwnDirectory() + "/davit-pull").c_str(), X_OK) != 0)
      GTEST_SKIP() << "davit-pull is not built beside this test";
    char name[] = "/tmp/pull-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
    layout_ = std::make_unique<Layout>(root_ + "/layout");
    ASSERT_TRUE(sys::MakeDirectories(root_ + "/store", 0700).ok());
    database_ = std::move(*store::Database::Open(root_ + "/store/davit.db"));
    trash_ = std::move(*store::Trash::Open(root_ + "/store"));
    layers_ = std::move(*store::DirectoryLayers::Open(root_ + "/store", *database_, *trash_));
    content_ = std::move(*store::Content::Open(root_ + "/store"));
    ASSERT_TRUE(layers_->Recover().ok());
    images_ = std::make_unique<Images>(*database_, *content_, *layers_, nullptr);
    ASSERT_TRUE(images_->Recover().ok());
    options_.helper_path = OwnDirectory() + "/davit-pull";
    options_.limits.min_free_bytes = 1 << 20;
    options_.limits.stall_timeout_seconds = 20;
    puller_ = std::make_unique<Puller>(*database_, *content_, *layers_, *images_, options_);
    ASSERT_TRUE(puller_->Recover().ok());
    MakeImages();
  }

  void TearDown() override {
    if (root_.empty()) return;
    for (sys::PidFd& process : processes_) {
      IgnoreError(process.Signal(SIGKILL));
      IgnoreError(process.Reap(Deadline::After(kLong)).status());
    }
    puller_.reset();
    images_.reset();
    content_.reset();
    layers_.reset();
    trash_.reset();
    database_.reset();
    EXPECT_TRUE(sys::RemoveTree(root_).ok());
  }

  void MakeImages() {
    base_tar_ = TarBuilder().Dir("tmp", 01777).Dir("etc").File("etc/base", "base").Finish();
    const std::string big = TarBuilder().File("big", std::string(3 << 20, 'b')).Finish();
    const std::string top = TarBuilder().File("tmp/implicit", "x").File("etc/.wh.base", "").Finish();
    layout_->Image("one", {{base_tar_, oci::kMediaOciLayerGzip}});
    one_id_ = layout_->id;
    one_manifest_ = layout_->manifest_digest;
    // Three compressions, one layer twice, one with directories that have no entry.
    std::string descriptor = layout_->Image("all", {{base_tar_, oci::kMediaOciLayer},
                                                    {big, oci::kMediaOciLayerZstd},
                                                    {top, oci::kMediaOciLayerGzip},
                                                    {base_tar_, oci::kMediaOciLayer}});
    all_id_ = layout_->id;
    const std::string index =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
        DigestOf("other") + R"(","size":10,"platform":{"os":"linux","architecture":"s390x"}},)" + descriptor + "]}";
    index_digest_ = layout_->Blob(index);
    layout_->Write("tags/list", index_digest_);
    layout_->Image("badid",
                   {{base_tar_, oci::kMediaOciLayerGzip}, {big, oci::kMediaOciLayerGzip, DigestOf("something else")}});
    std::string text;
    unsigned x = 7;
    for (int i = 0; i < 2 << 20; ++i) text += static_cast<char>((x = x * 1103515245 + 12345) >> 16);
    layout_->Image("noise", {{TarBuilder().File("noise", text).Finish(), oci::kMediaOciLayerGzip}});
  }

  // Starts a program whose first output line tells that it is ready; empty when it is not installed.
  std::string StartServer(const std::vector<std::string>& argv) {
    auto in = sys::MakePipe();
    auto out = sys::MakePipe();
    sys::SpawnOptions spawn;
    spawn.argv = argv;
    spawn.env = sys::MinimalEnvironment();
    spawn.fds = {{in->read.get(), 0}, {out->write.get(), 1}, {2, 2}};
    auto process = sys::Spawn(spawn);
    if (!process.ok()) return "";
    processes_.push_back(std::move(*process));
    keep_open_.push_back(std::move(in->write));
    out->write.reset();
    std::string line;
    char c = 0;
    while (::read(out->read.get(), &c, 1) == 1 && c != '\n') line += c;
    return line;
  }

  // False (and skipped) without python3. Plain HTTP is allowed for the registry's port unless `tls`.
  bool StartFake(const std::vector<std::string>& tls = {}) {
    std::vector<std::string> argv = {"python3", std::string(DAVIT_TEST_DATA) + "/fake_registry.py", root_ + "/layout",
                                     root_ + "/requests"};
    argv.insert(argv.end(), tls.begin(), tls.end());
    std::string line = StartServer(argv);
    if (line.empty()) return false;
    std::istringstream(line) >> port_ >> second_port_;
    host_ = "localhost:" + port_;
    if (tls.empty()) {
      options_.hosts[host_].plain_http = true;
      options_.hosts["localhost:" + second_port_].plain_http = true;
    }
    puller_->SetOptions(options_);
    return true;
  }

  Result<ImageRecord> Pull(const std::string& name, const Credentials& credentials = {},
                           Deadline deadline = Deadline::After(kLong)) {
    PullRequest request;
    request.reference = *Reference::Parse(host_ + "/" + name);
    Result<std::vector<Endpoint>> endpoints = EndpointsFor(request.reference, options_.hosts);
    if (!endpoints.ok()) return endpoints.status();
    request.endpoints = std::move(*endpoints);
    GiveCredentials(credentials, "the test", request.reference, request.endpoints);
    request.on_progress = [this](const PullProgress& progress) { progress_ = progress; };
    return puller_->Pull(request, deadline);
  }
  std::string Log() {
    std::ifstream in(root_ + "/requests");
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::string LayerFile(const ImageRecord& image, size_t layer, const std::string& name) {
    return *layers_->Path(*oci::Digest::Parse(image.layers[layer])) + "/" + name;
  }
  // After an error: no image, no staging, no intent, and no blob.
  void ExpectNothingStays(size_t layers = 0) {
    EXPECT_TRUE(images_->List()->empty());
    EXPECT_EQ(layers_->List().size(), layers);
    EXPECT_TRUE(database_->LoadAll(store::Kind::kIntent)->empty());
    EXPECT_TRUE(content_->List()->empty());
    auto recovered = layers_->Recover();
    ASSERT_TRUE(recovered.ok());
    EXPECT_EQ(recovered->staging_discarded, 0u);
  }
  void ExpectError(const Result<ImageRecord>& result, StatusCode code, const std::string& part) {
    EXPECT_EQ(result.code(), code) << result.status().ToString();
    EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().ToString();
  }

  std::string root_, port_, second_port_, host_, base_tar_, one_id_, one_manifest_, all_id_, index_digest_;
  PullProgress progress_;
  std::vector<sys::PidFd> processes_;
  std::vector<sys::UniqueFd> keep_open_;
  std::unique_ptr<Layout> layout_;
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::Trash> trash_;
  std::unique_ptr<store::DirectoryLayers> layers_;
  std::unique_ptr<store::Content> content_;
  std::unique_ptr<Images> images_;
  PullerOptions options_;
  std::unique_ptr<Puller> puller_;
};

#define NEED_FAKE(...) \
  if (!StartFake(__VA_ARGS__)) GTEST_SKIP() << "python3 is not installed"

TEST_F(RootPullTest, PullsByTagAndByDigest) {
  NEED_FAKE();
  Result<ImageRecord> list = Pull("a/b:list");
  ASSERT_TRUE(list.ok()) << list.status().ToString();
  EXPECT_EQ(list->id, all_id_);
  EXPECT_EQ(list->repo_tags, std::vector<std::string>{host_ + "/a/b:list"});
  EXPECT_EQ(list->repo_digests, std::vector<std::string>{host_ + "/a/b@" + index_digest_});
  EXPECT_EQ(list->user, "www-data");
  EXPECT_EQ(list->layers.size(), 4u);
  EXPECT_EQ(layers_->List().size(), 3u) << "one layer occurs twice";
  EXPECT_EQ(progress_.layers_done, 4u);
  EXPECT_GT(list->size, 3u << 20);
  struct stat st {};
  ASSERT_EQ(::stat(LayerFile(*list, 1, "big").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 3 << 20);
  ASSERT_EQ(::lstat(LayerFile(*list, 2, "etc/base").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode) && st.st_rdev == 0);
  ASSERT_EQ(::stat(LayerFile(*list, 2, "tmp").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 01777u) << "a directory without an entry is as in the layer below";

  Result<ImageRecord> one = Pull("a/b@" + one_manifest_);
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  EXPECT_EQ(one->id, one_id_);
  EXPECT_TRUE(one->repo_tags.empty());
  EXPECT_EQ(one->repo_digests, std::vector<std::string>{host_ + "/a/b@" + one_manifest_});
  EXPECT_EQ(progress_.layers_present, 1u) << "shared with the first image";
  EXPECT_TRUE(database_->LoadAll(store::Kind::kIntent)->empty());
  ASSERT_TRUE(images_->Remove(one->id).ok());
  ASSERT_TRUE(images_->Remove(list->repo_tags[0]).ok());
  EXPECT_TRUE(layers_->List().empty());
  EXPECT_TRUE(content_->List()->empty());
}

// What a layer does not name belongs to the stack that it stands on: each image looks as if it were alone on the node.
TEST_F(RootPullTest, OneLayerOnTwoStacks) {
  NEED_FAKE();
  const std::string open = TarBuilder().Add("etc", '5', "", {.mode = 0777, .uid = 1000, .gid = 1000}).Finish();
  const std::string closed = TarBuilder().Dir("etc", 0750).File("etc/shared", "below").Finish();
  const std::string layer = TarBuilder().File("etc/app.conf", "x").Finish();
  const std::string link = TarBuilder().Link("h", '1', "etc/app.conf").Finish();
  layout_->Image("open", {{open, oci::kMediaOciLayerGzip}, {layer, oci::kMediaOciLayerGzip}});
  // The layer twice, above different things each time.
  layout_->Image("closed", {{layer, oci::kMediaOciLayerGzip},
                            {closed, oci::kMediaOciLayerGzip},
                            {layer, oci::kMediaOciLayerGzip},
                            {link, oci::kMediaOciLayerGzip}});
  layout_->Image("wrong", {{closed, oci::kMediaOciLayerGzip}, {link, oci::kMediaOciLayerGzip}});
  Result<ImageRecord> first = Pull("a/b:open");
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  Result<ImageRecord> second = Pull("a/b:closed");
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  struct stat st {};
  ASSERT_EQ(::stat(LayerFile(*first, 1, "etc").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0777u);
  EXPECT_EQ(st.st_uid, 1000u);
  const unsigned modes[] = {0755, 0750, 0750, 0750};
  for (size_t i = 0; i < std::size(modes); ++i) {
    ASSERT_EQ(::stat(LayerFile(*second, i, "etc").c_str(), &st), 0) << i;
    EXPECT_EQ(st.st_mode & 07777, modes[i]) << i;
    EXPECT_EQ(st.st_uid, 0u) << i;
  }
  ASSERT_EQ(::stat(LayerFile(*second, 3, "h").c_str(), &st), 0);
  EXPECT_EQ(st.st_nlink, 2u);
  EXPECT_EQ(st.st_size, 1);
  ExpectError(Pull("a/b:wrong"), StatusCode::kInvalidArgument, "neither in this layer nor in those below");
  // Pulled again it is all there.
  ASSERT_TRUE(Pull("a/b:closed").ok());
  EXPECT_EQ(progress_.layers_present, 4u);
  ASSERT_TRUE(images_->Remove(first->id).ok());
  ASSERT_TRUE(images_->Remove(second->id).ok());
  EXPECT_TRUE(layers_->List().empty());
}

TEST_F(RootPullTest, PullsOfOneLayerOnDifferentStacksDoNotWaitForEachOther) {
  NEED_FAKE();
  // Each is above the other once, and both depend on what is below.
  const std::string a = TarBuilder().File("a/x", "1").Finish();
  const std::string b = TarBuilder().File("b/x", "2").Finish();
  layout_->Image("ab", {{a, oci::kMediaOciLayerGzip}, {b, oci::kMediaOciLayerGzip}});
  layout_->Image("ba", {{b, oci::kMediaOciLayerGzip}, {a, oci::kMediaOciLayerGzip}});
  for (int round = 0; round < 5; ++round) {
    std::vector<std::thread> pulls;
    std::array<Status, 4> results;
    for (size_t i = 0; i < results.size(); ++i) {
      pulls.emplace_back([&, i] {
        PullRequest request;
        request.reference = *Reference::Parse(host_ + (i % 2 == 0 ? "/a/b:ab" : "/a/b:ba"));
        results[i] = puller_->Pull(request, Deadline::After(kLong)).status();
      });
    }
    for (std::thread& pull : pulls) pull.join();
    for (const Status& result : results) EXPECT_TRUE(result.ok()) << result.ToString();
    EXPECT_EQ(layers_->List().size(), 4u);
    const ImageList list = images_->List();
    for (const ImageRecord& image : *list) ASSERT_TRUE(images_->Remove(image.id).ok());
  }
}

TEST_F(RootPullTest, PlainHttpOnlyWhereConfigured) {
  NEED_FAKE();
  options_.hosts.clear();
  puller_->SetOptions(options_);
  host_ = "registry.localhost:" + port_;  // of this node too, but only by its resolver's word
  ExpectError(Pull("a/b:one"), StatusCode::kUnavailable, "set plain_http for registry.localhost:" + port_);
  ExpectNothingStays();
}

TEST_F(RootPullTest, ALoopbackRegistryIsAskedInPlainHttpWhereItSpeaksNoTls) {
  NEED_FAKE();
  options_.hosts.clear();
  puller_->SetOptions(options_);
  for (const char* host : {"localhost:", "127.0.0.1:"}) {
    host_ = host + port_;
    Credentials given;
    given.username = "user";
    given.password = "secret";
    Result<ImageRecord> image = Pull("basic/b:one", given);
    EXPECT_TRUE(image.ok()) << image.status().ToString();
    ExpectError(Pull("a/b:absent"), StatusCode::kNotFound, "manifest unknown");
  }
}

TEST(AddAttemptTest, WhatFailedIsKept) {
  std::vector<PullAttempt> attempts;
  AddAttempt(attempts, {"e", "", "", "manifest", "404"});
  for (int i = 0; i < 500; ++i) AddAttempt(attempts, {"e", "", "", std::to_string(i), "OK"});
  AddAttempt(attempts, {"e", "", "", "last", "cut"});
  ASSERT_EQ(attempts.size(), kMaxAttempts);
  EXPECT_EQ(attempts.front().verdict, "404");
  EXPECT_EQ(attempts[1].asked_for, "438");
  EXPECT_EQ(attempts.back().asked_for, "last");
  for (int i = 0; i < 500; ++i) AddAttempt(attempts, {"e", "", "", std::to_string(i), "cut"});
  EXPECT_EQ(attempts.size(), kMaxAttempts);
}

TEST_F(RootPullTest, TellsWhatIsNotThere) {
  NEED_FAKE();
  ExpectError(Pull("a/b:absent"), StatusCode::kNotFound, "manifest unknown");
  ExpectError(Pull("denied/b:one"), StatusCode::kPermissionDenied, "not for you");
  ExpectError(Pull("limited/b:one"), StatusCode::kResourceExhausted, "429");
  ExpectError(Pull("huge/b:one"), StatusCode::kResourceExhausted, "4194304");
  ExpectError(Pull("loop/b:one"), StatusCode::kFailedPrecondition, "redirects");
  ExpectError(Pull("downgrade/b:one"), StatusCode::kFailedPrecondition, "localhost:1");
  host_ = "localhost:1";
  ExpectError(Pull("a/b:one"), StatusCode::kUnavailable, "localhost:1");
  ExpectNothingStays();
}

TEST_F(RootPullTest, BasicAuthentication) {
  NEED_FAKE();
  ExpectError(Pull("basic/b:one"), StatusCode::kUnauthenticated, "wants credentials");
  Credentials wrong;
  wrong.username = "user";
  wrong.password = "no";
  ExpectError(Pull("basic/b:one", wrong), StatusCode::kUnauthenticated, "check the credentials");
  Credentials elsewhere;
  elsewhere.username = "user";
  elsewhere.password = "secret";
  elsewhere.server_address = "other.example";
  ExpectError(Pull("basic/b:one", elsewhere), StatusCode::kUnauthenticated, "wants credentials");
  ExpectNothingStays();
  Credentials encoded;
  encoded.auth = "dXNlcjpzZWNyZXQ=";
  Result<ImageRecord> image = Pull("basic/b:one", encoded);
  EXPECT_TRUE(image.ok()) << image.status().ToString();
}

TEST_F(RootPullTest, TokenAuthentication) {
  NEED_FAKE();
  ExpectError(Pull("token/b:one"), StatusCode::kUnauthenticated, "");
  Credentials user;
  user.username = "user";
  user.password = "secret";
  EXPECT_TRUE(Pull("token/b:one", user).ok());
  EXPECT_NE(Log().find("scope=repository%3Atoken%2Fb%3Apull&service=fake"), std::string::npos) << Log();
  Credentials identity;
  identity.identity_token = "refresh+me";
  EXPECT_TRUE(Pull("token/b:all", identity).ok());
  EXPECT_NE(Log().find("refresh_token=refresh%2Bme"), std::string::npos);
  Credentials given;
  given.registry_token = "given";
  EXPECT_TRUE(Pull("token/b:list", given).ok());
}

TEST_F(RootPullTest, CredentialsDoNotFollowRedirects) {
  NEED_FAKE();
  Credentials given;
  given.registry_token = "given";
  Result<ImageRecord> image = Pull("redirect/b:one", given);
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  const std::string log = Log();
  size_t raw = log.find("\"port\": " + second_port_);
  ASSERT_NE(raw, std::string::npos);
  for (size_t at = raw; at != std::string::npos; at = log.find("\"port\": " + second_port_, at + 1)) {
    EXPECT_NE(log.substr(at, log.find('\n', at) - at).find("\"auth\": null"), std::string::npos) << log;
  }
  EXPECT_NE(log.find("\"auth\": \"Bearer given\""), std::string::npos);
}

// Whoever a redirect leads to may ask for credentials, and name the token server to bring them to.
TEST_F(RootPullTest, AChallengeFromBehindARedirectIsNotAnswered) {
  NEED_FAKE();
  Credentials password, token, identity;
  password.username = "user";
  password.password = "secret";
  token.registry_token = "given";
  identity.identity_token = "identity";
  for (const Credentials* given : {&password, &token, &identity}) {
    for (const char* name : {"lure/b:one", "lurebasic/b:one", "lureback/b:one", "lureblob/b:one"}) {
      ExpectError(Pull(name, *given), StatusCode::kUnauthenticated, "redirects to localhost:");
    }
  }
  const std::string log = Log();
  size_t second = log.find("\"port\": " + second_port_);
  ASSERT_NE(second, std::string::npos);
  for (; second != std::string::npos; second = log.find("\"port\": " + second_port_, second + 1)) {
    const std::string line = log.substr(second, log.find('\n', second) - second);
    EXPECT_NE(line.find("\"auth\": null"), std::string::npos) << line;
    EXPECT_NE(line.find("\"body\": \"\""), std::string::npos) << line;
  }
  EXPECT_EQ(log.find("\"path\": \"/token"), std::string::npos) << log;
  ExpectNothingStays();
}

TEST_F(RootPullTest, LiesAreDataLossAndLeaveNothing) {
  NEED_FAKE();
  ExpectError(Pull("lie/b:noise"), StatusCode::kDataLoss, "layer sha256:");
  ExpectError(Pull("long/b:one"), StatusCode::kDataLoss, "longer than");
  ExpectError(Pull("short/b:one"), StatusCode::kDataLoss, "bytes there, and");
  ExpectNothingStays();
  ExpectError(Pull("a/b:badid"), StatusCode::kDataLoss, "diff ID");
  ExpectNothingStays(layers_->List().size());
}

TEST_F(RootPullTest, GoesOnAfterABrokenTransfer) {
  NEED_FAKE();
  EXPECT_TRUE(Pull("busy/b:one").ok());
  Result<ImageRecord> cut = Pull("cut/b:noise");
  ASSERT_TRUE(cut.ok()) << cut.status().ToString();
  EXPECT_NE(Log().find("\"range\": \"bytes="), std::string::npos);
  ASSERT_TRUE(images_->Remove(cut->id).ok());
  Result<ImageRecord> again = Pull("cutnorange/b:noise");
  EXPECT_TRUE(again.ok()) << again.status().ToString();
}

TEST_F(RootPullTest, ATokenServerThatIsBusyIsAskedAgain) {
  NEED_FAKE();
  Result<ImageRecord> image = Pull("tokenbusy/b:one");
  EXPECT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(progress_.retries, 2u);
}

TEST_F(RootPullTest, WhatATokenServerMayNotSay) {
  NEED_FAKE();
  ExpectError(Pull("tokenzero/b:one"), StatusCode::kFailedPrecondition, "no token in its answer");
  ExpectError(Pull("norealm/b:one"), StatusCode::kFailedPrecondition, "malformed URL");
}

TEST_F(RootPullTest, ABlobThatTimesOutIsAskedForAgain) {
  NEED_FAKE();
  Result<ImageRecord> image = Pull("slow/b:one");
  EXPECT_TRUE(image.ok()) << image.status().ToString();
}

// What a blob's first endpoint says that is none of it must not spoil what the next one has.
TEST_F(RootPullTest, AnAnswerThatIsNotTheBlobLeadsToTheNextEndpoint) {
  NEED_FAKE();
  options_.limits.retries = 2;
  puller_->SetOptions(options_);
  for (const std::string mode : {"page", "long", "short", "wrongrange", "lie", "liesoon", "lieconfig"}) {
    PullRequest request;
    request.reference = *Reference::Parse(host_ + "/a/b:noise");
    request.endpoints = *EndpointsFor(request.reference, options_.hosts);
    request.endpoints.insert(request.endpoints.begin(), request.endpoints[0]);
    request.endpoints[0].repository = mode + "/b";
    Result<ImageRecord> image = puller_->Pull(request, Deadline::After(kLong));
    ASSERT_TRUE(image.ok()) << mode << ": " << image.status().ToString();
    EXPECT_NE(Log().find("/v2/" + mode + "/b/blobs/"), std::string::npos) << mode;
    ASSERT_TRUE(images_->Remove(image->id).ok());
  }
}

// Who lied about one layer is asked last from then on, and the attempts say so.
TEST_F(RootPullTest, WhoSentOtherBytesIsNamedAndWhoHasNoOtherIsDataLoss) {
  NEED_FAKE();
  PullRequest request;
  request.reference = *Reference::Parse(host_ + "/a/b:all");
  request.endpoints = *EndpointsFor(request.reference, options_.hosts);
  request.endpoints.insert(request.endpoints.begin(), 2, request.endpoints[0]);
  request.endpoints[0].repository = "lie/b";
  request.endpoints[1].repository = "liesoon/b";
  PullProgress last;
  request.on_progress = [&](const PullProgress& now) { last = now; };
  Result<ImageRecord> image = puller_->Pull(request, Deadline::After(kLong));
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_TRUE(std::any_of(last.attempts.begin(), last.attempts.end(), [](const PullAttempt& attempt) {
    return attempt.endpoint.find("/lie/b") != std::string::npos &&
           attempt.verdict.find("another digest") != std::string::npos;
  }));
  ASSERT_TRUE(images_->Remove(image->id).ok());
  request.endpoints.pop_back();
  ExpectError(puller_->Pull(request, Deadline::After(kLong)), StatusCode::kDataLoss, "has the digest");
  ExpectNothingStays(layers_->List().size());
}

TEST_F(RootPullTest, CredentialsAreLookedForWhenTheirEndpointIsAsked) {
  NEED_FAKE();
  PullRequest request;
  request.reference = *Reference::Parse(host_ + "/basic/b:one");
  request.endpoints = *EndpointsFor(request.reference, options_.hosts);
  request.endpoints.push_back(request.endpoints[0]);
  for (Endpoint& endpoint : request.endpoints) endpoint.ask_credentials = true;
  std::vector<size_t> asked;
  PullProgress last;
  request.on_progress = [&](const PullProgress& now) { last = now; };
  request.find_credentials = [&](size_t endpoint) -> Result<PullRequest::Found> {
    asked.push_back(endpoint);
    PullRequest::Found found;
    found.credentials.username = "user";
    found.credentials.password = "secret";
    found.source = "a helper";
    return found;
  };
  Result<ImageRecord> image = puller_->Pull(request, Deadline::After(kLong));
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_THAT(asked, testing::ElementsAre(0u)) << "once, and nobody asks the second endpoint";
  ASSERT_FALSE(last.attempts.empty());
  EXPECT_EQ(last.attempts[0].credentials, "a helper");
  ASSERT_TRUE(images_->Remove(image->id).ok());
  // A helper that fails is its endpoint's error: the next one is asked.
  request.endpoints[0].base = "http://localhost:1/v2";
  asked.clear();
  request.find_credentials = [&](size_t endpoint) -> Result<PullRequest::Found> {
    asked.push_back(endpoint);
    if (endpoint == 0) return FailedPrecondition("the helper fails");
    PullRequest::Found found;
    found.credentials.username = "user";
    found.credentials.password = "secret";
    return found;
  };
  image = puller_->Pull(request, Deadline::After(kLong));
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_THAT(asked, testing::ElementsAre(0u, 1u));
  EXPECT_THAT(last.attempts[0].verdict, testing::HasSubstr("the helper fails"));
}

TEST_F(RootPullTest, IndexesOneInTheOther) {
  NEED_FAKE();
  auto index = [&](const std::string& digest) {
    const std::string text =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)" +
        Layout::Descriptor("application/vnd.oci.image.index.v1+json", digest, 100) + "]}";
    return layout_->Blob(text);
  };
  const std::string outer = index(index(index_digest_));
  layout_->Write("tags/nested", outer);
  Result<ImageRecord> image = Pull("a/b:nested");
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(image->id, all_id_);
  EXPECT_THAT(image->repo_digests, testing::ElementsAre(host_ + "/a/b@" + outer));
  layout_->Write("tags/deep", index(index(outer)));
  ExpectError(Pull("a/b:deep"), StatusCode::kResourceExhausted, "one in the other");
}

TEST_F(RootPullTest, ABlobThatIsWholeIsTakenHoweverItsConnectionEnds) {
  NEED_FAKE();
  options_.limits.retries = 2;
  puller_->SetOptions(options_);
  PullRequest request;
  request.reference = *Reference::Parse(host_ + "/promise/b:noise");
  request.endpoints = *EndpointsFor(request.reference, options_.hosts);
  Result<ImageRecord> image = puller_->Pull(request, Deadline::After(kLong));
  // Its headers promise more than the manifest: refused, and said so.
  ExpectError(image, StatusCode::kDataLoss, "longer than");
  image = Pull("chunks/b:noise");
  EXPECT_TRUE(image.ok()) << image.status().ToString();
}

TEST_F(RootPullTest, AnEndpointThatIsNotNeededIsNotProbed) {
  NEED_FAKE();
  sys::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  PullRequest request;
  request.reference = *Reference::Parse(host_ + "/a/b:one");
  request.endpoints = *EndpointsFor(request.reference, options_.hosts);
  request.endpoints.push_back(request.endpoints[0]);
  request.endpoints[1].base = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/v2";
  request.endpoints[1].maybe_plain = true;
  request.endpoints[1].connect_timeout_seconds = 1;
  Result<ImageRecord> image = puller_->Pull(request, Deadline::After(kLong));
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(::accept(listener.get(), nullptr, nullptr), -1) << "somebody was there";
}

TEST_F(RootPullTest, AStallIsNamedAndAMirrorIsTriedFirst) {
  NEED_FAKE();
  options_.limits.stall_timeout_seconds = 1;
  options_.limits.retries = 1;
  puller_->SetOptions(options_);
  ExpectError(Pull("stall/b:noise"), StatusCode::kDeadlineExceeded, "sent nothing for 1 s after");
  ExpectNothingStays();
  options_.hosts["example.invalid"].mirrors = {"http://localhost:1", "http://" + host_};
  options_.hosts["example.invalid"].fallback = false;
  puller_->SetOptions(options_);
  host_ = "example.invalid";
  Result<ImageRecord> image = Pull("a/b:one");
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(image->repo_tags, std::vector<std::string>{"example.invalid/a/b:one"});
  ExpectError(Pull("a/b:absent"), StatusCode::kNotFound, "localhost:1");
}

TEST_F(RootPullTest, ADripIsNoTransfer) {
  NEED_FAKE();
  options_.limits.stall_timeout_seconds = 1;
  options_.limits.min_bytes_per_second = 1000;
  puller_->SetOptions(options_);
  ExpectError(Pull("drip/b:one"), StatusCode::kDeadlineExceeded, "fewer than 1000 bytes a second");
  ExpectNothingStays();
}

TEST_F(RootPullTest, ALayerThatWasTakenAwayIsFetchedAgain) {
  NEED_FAKE();
  Result<ImageRecord> image = Pull("a/b:one");
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  const std::string lost = *layers_->Path(*oci::Digest::Parse(image->layers[0]));
  ASSERT_TRUE(sys::RemoveTree(lost).ok());
  image = Pull("a/b:one");
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(::access(lost.c_str(), F_OK), 0) << "the pull said that it is there";
}

TEST_F(RootPullTest, DeadlineAndCancelEndThePull) {
  NEED_FAKE();
  ExpectError(Pull("a/b:one", {}, Deadline::After(std::chrono::milliseconds(0))), StatusCode::kDeadlineExceeded,
              "deadline");
  auto cancel = std::move(*PullCancel::Create());
  PullRequest request;
  request.reference = *Reference::Parse(host_ + "/stall/b:noise");
  request.cancel = cancel.get();
  request.on_progress = [&](const PullProgress& progress) {
    if (progress.bytes_total > 0) cancel->Cancel();  // it has begun
  };
  ExpectError(puller_->Pull(request, Deadline::After(kLong)), StatusCode::kCancelled, "stall/b");
  ExpectNothingStays();
}

TEST_F(RootPullTest, TwoPullsShareALayer) {
  NEED_FAKE();
  Result<ImageRecord> a = NotFound(""), b = NotFound("");
  std::thread other([&] {
    PullRequest request;
    request.reference = *Reference::Parse(host_ + "/x/y:noise");
    a = puller_->Pull(request, Deadline::After(kLong));
  });
  PullRequest request;
  request.reference = *Reference::Parse(host_ + "/x/z:noise");
  b = puller_->Pull(request, Deadline::After(kLong));
  other.join();
  ASSERT_TRUE(a.ok() && b.ok()) << a.status().ToString() << b.status().ToString();
  EXPECT_EQ(images_->Resolve(a->id)->repo_tags.size(), 2u);
  EXPECT_EQ(layers_->List().size(), 1u);
}

TEST_F(RootPullTest, AHelperThatDiesIsAnError) {
  NEED_FAKE();
  options_.helper_path = "/bin/false";
  puller_->SetOptions(options_);
  ExpectError(Pull("a/b:one"), StatusCode::kInternal, "davit-pull ended with status 1");
  options_.helper_path = "/nonexistent/davit-pull";
  puller_->SetOptions(options_);
  ExpectError(Pull("a/b:one"), StatusCode::kNotFound, "/nonexistent/davit-pull");
  ExpectNothingStays();
}

// A cgroup that davit-pull moves into before it begins, so that the kernel refuses it what a busy node would.
class RootPullShortageTest : public RootPullTest {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "sanitizers want threads and address space of their own";
    RootPullTest::SetUp();
  }
  void TearDown() override {
    if (!cgroup_.empty()) {
      EXPECT_TRUE(sys::RemoveCgroup(layout_of_node_, cgroup_).ok());
    }
    RootPullTest::TearDown();
  }
  // False without a pids controller.
  bool LimitThreads(int threads) {
    auto layout = sys::CgroupLayout::Detect();
    if (!layout.ok()) return false;
    layout_of_node_ = *layout;
    cgroup_ = "/davit-pull-test-" + std::to_string(::getpid());
    if (!sys::CreateCgroup(layout_of_node_, cgroup_).ok()) return false;
    auto directory = layout_of_node_.Directory("pids", cgroup_);
    if (!directory || !(std::ofstream(*directory + "/pids.max") << threads << std::flush)) return false;
    RunHelperBy("echo $$ > " + *directory + "/cgroup.procs");
    return true;
  }
  // davit-pull is what a shell becomes after `first`.
  void RunHelperBy(const std::string& first) {
    const std::string script = root_ + "/short-pull";
    std::ofstream(script) << "#!/bin/sh\n" << first << "\nexec " << OwnDirectory() << "/davit-pull\n";
    ASSERT_EQ(::chmod(script.c_str(), 0755), 0);
    options_.helper_path = script;
    puller_->SetOptions(options_);
  }
  sys::CgroupLayout layout_of_node_;
  std::string cgroup_;
};

TEST_F(RootPullShortageTest, WithoutThreadsItSaysSo) {
  NEED_FAKE();
  // One is the program itself; each step lets one more start, until there are enough.
  int refused = 0;
  for (int threads = 1; threads <= 16; ++threads) {
    if (!LimitThreads(threads)) GTEST_SKIP() << "no pids controller";
    auto pulled = Pull("a/b:all");
    if (pulled.ok()) break;
    ++refused;
    ExpectError(pulled, StatusCode::kResourceExhausted, "start thread: ");
    ExpectNothingStays(layers_->List().size());  // whole layers of a pull that ended may be there
  }
  EXPECT_GE(refused, 4);  // commands, progress, a layer, its other half
  EXPECT_TRUE(Pull("a/b:all").ok());
}

TEST_F(RootPullShortageTest, WithoutMemoryItSaysSo) {
  NEED_FAKE();
  // From too little to load the program to enough. What is no exception (the loader, libcurl) has words of its own.
  int said = 0;
  bool enough = false;
  for (int kib = 16 << 10; kib <= 1 << 20 && !enough; kib += kib < 128 << 10 ? 512 : 32 << 10) {
    RunHelperBy("ulimit -v " + std::to_string(kib));
    auto pulled = Pull("a/b:all");
    enough = pulled.ok();
    // Between what the loader needs and what the C++ library needs to throw anything, the libraries' own beginnings
    // abort, before main; from its first own word on it must not.
    if (said > 0) {
      EXPECT_EQ(pulled.status().message().find("crashed"), std::string::npos)
          << kib << ": " << pulled.status().ToString();
    }
    if (!enough) ExpectNothingStays(layers_->List().size());
    if (pulled.code() == StatusCode::kResourceExhausted) ++said;
  }
  EXPECT_TRUE(enough);
  EXPECT_GT(said, 0);
}

TEST_F(RootPullTest, CapsOfTheLimits) {
  NEED_FAKE();
  options_.limits.max_layer_bytes = 1 << 20;
  puller_->SetOptions(options_);
  ExpectError(Pull("a/b:all"), StatusCode::kResourceExhausted, "unpacks to more than");
}

// A certificate authority and a certificate for localhost; false without openssl.
bool MakeCertificates(const std::string& dir) {
  const std::string script =
      "cd " + dir +
      " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=testca -keyout "
      "ca.key -out ca.pem"
      " && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out "
      "csr.pem"
      " && printf 'subjectAltName=DNS:localhost' > ext"
      " && openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem";
  sys::SpawnOptions options;
  options.argv = {"/bin/sh", "-c", script};
  options.env = sys::MinimalEnvironment();
  Result<sys::CommandResult> result = sys::RunCommand(options, "", 65536, Deadline::After(kLong));
  return result.ok() && result->exit.code == 0;
}

TEST_F(RootPullTest, TlsNeedsAKnownAuthority) {
  if (!Installed("openssl") || !MakeCertificates(root_)) GTEST_SKIP() << "openssl is not installed";
  NEED_FAKE({root_ + "/cert.pem", root_ + "/key.pem"});
  ExpectError(Pull("a/b:one"), StatusCode::kUnavailable, "set ca_file for localhost:" + port_);
  options_.hosts[host_].ca_file = root_ + "/ca.pem";
  options_.hosts["localhost:" + second_port_].ca_file = root_ + "/ca.pem";
  puller_->SetOptions(options_);
  Result<ImageRecord> image = Pull("redirect/b:one");
  EXPECT_TRUE(image.ok()) << image.status().ToString();
}

// Debian's docker-registry, with TLS and a password file: the real protocol.
TEST_F(RootPullTest, PullsFromDockerRegistry) {
  for (const char* tool : {"docker-registry", "skopeo", "htpasswd", "openssl"}) {
    if (!Installed(tool)) GTEST_SKIP() << tool << " is not installed";
  }
  ASSERT_TRUE(MakeCertificates(root_));
  // A port that was free a moment ago.
  const std::string script =
      "cd " + root_ +
      " && htpasswd -Bbn user secret > users && mkdir -p certs && cp ca.pem certs/ca.crt"
      " && P=$(python3 -c 'import socket; s=socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])')"
      " && printf 'version: 0.1\\nlog: {level: error}\\nstorage: {filesystem: {rootdirectory: %s/registry}}\\nhttp: "
      "{addr: \"127.0.0.1:%s\","
      " tls: {certificate: %s/cert.pem, key: %s/key.pem}}\\nauth: {htpasswd: {realm: test, path: %s/users}}\\n' " +
      root_ + " $P " + root_ + " " + root_ + " " + root_ +
      " > config.yml"
      " && { docker-registry serve config.yml >/dev/null 2>&1 & } && for i in $(seq 200); do"
      " skopeo copy --dest-cert-dir certs --dest-creds user:secret oci:layout docker://localhost:$P/some/image:1 "
      ">/dev/null 2>&1 && break;"
      " sleep 0.1; done; echo $P; exec cat";
  std::string line = StartServer({"/bin/sh", "-c", script});
  ASSERT_FALSE(line.empty());
  host_ = "localhost:" + line;
  options_.hosts[host_].ca_file = root_ + "/ca.pem";
  puller_->SetOptions(options_);
  ExpectError(Pull("some/image:1"), StatusCode::kUnauthenticated, "wants credentials");
  Credentials user;
  user.username = "user";
  user.password = "secret";
  Result<ImageRecord> image = Pull("some/image:1", user);
  ASSERT_TRUE(image.ok()) << image.status().ToString();
  EXPECT_EQ(image->id, layout_->id);
  ExpectError(Pull("some/other:1", user), StatusCode::kNotFound, "some/other");
  // The server is the shell's child: end it with the shell.
  sys::SpawnOptions stop;
  stop.argv = {
      "/bin/sh", "-c",
      "for p in $(cat /proc/" + std::to_string(processes_.back().pid()) + "/task/*/children); do kill $p; done"};
  stop.env = sys::MinimalEnvironment();
  IgnoreError(sys::RunCommand(stop, "", 1024, Deadline::After(kLong)).status());
}

}  // namespace
}  // namespace davit::image
