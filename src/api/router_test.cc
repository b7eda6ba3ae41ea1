#include "api/router.h"

#include <gtest/gtest.h>

namespace davit::api {
namespace {

Result<Reply> Nothing(Api&, const Request&) { return Reply(); }

Router Example() {
  Router router;
  router.Add(Flavour::kBoth, "GET", "/_ping", Nothing);
  router.Add(Flavour::kBoth, "GET", "/containers/json", Nothing);
  router.Add(Flavour::kBoth, "GET", "/containers/{name}/json", Nothing);
  router.Add(Flavour::kLibpod, "GET", "/containers/stats", Nothing);
  router.Add(Flavour::kBoth, "GET", "/images/{name*}/json", Nothing);
  router.Add(Flavour::kBoth, "DELETE", "/images/{name*}", Nothing);
  router.Add(Flavour::kLibpod, "DELETE", "/images/remove", Nothing);
  router.Add(Flavour::kCompat, "GET", "/info", Nothing);
  return router;
}

Router::Found Find(const Router& router, std::string_view method, std::string_view path) {
  return router.Find(method, SplitApiPath(path));
}

TEST(ApiPathTest, TakesThePrefixesOff) {
  ApiPath path = SplitApiPath("/v1.41/containers/json");
  EXPECT_FALSE(path.libpod);
  EXPECT_EQ(path.version.major, 1u);
  EXPECT_EQ(path.version.minor, 41u);
  EXPECT_EQ(path.rest, "/containers/json");
  path = SplitApiPath("/v4.3.1/libpod/pods/json");
  EXPECT_TRUE(path.libpod);
  EXPECT_EQ(path.version.major, 4u);
  EXPECT_EQ(path.rest, "/pods/json");
  path = SplitApiPath("/libpod/info");
  EXPECT_TRUE(path.libpod);
  EXPECT_FALSE(path.version.named());
  EXPECT_EQ(SplitApiPath("/v6.0.0-dev/libpod/_ping").rest, "/_ping");
  EXPECT_EQ(SplitApiPath("/volumes").rest, "/volumes") << "no version, though it begins with v";
  EXPECT_EQ(SplitApiPath("/v1.41").rest, "");
}

TEST(ApiVersionTest, NoVersionIsTheNewest) {
  EXPECT_TRUE(ApiVersion().AtLeast(1, 52));
  EXPECT_TRUE((ApiVersion{1, 44}.AtLeast(1, 44)));
  EXPECT_FALSE((ApiVersion{1, 43}.AtLeast(1, 44)));
  EXPECT_TRUE((ApiVersion{5, 0}.AtLeast(4, 7)));
}

TEST(RouterTest, FindsByFormAndMethod) {
  Router router = Example();
  for (const char* path : {"/_ping", "/v1.41/_ping", "/libpod/_ping", "/v4.3.1/libpod/_ping"}) {
    EXPECT_NE(Find(router, "GET", path).route, nullptr) << path;
    EXPECT_NE(Find(router, "HEAD", path).route, nullptr) << path;
  }
  EXPECT_EQ(Find(router, "GET", "/libpod/info").route, nullptr);
  EXPECT_EQ(Find(router, "GET", "/containers/stats").route, nullptr);
  auto other = Find(router, "POST", "/_ping");
  EXPECT_EQ(other.route, nullptr);
  EXPECT_TRUE(other.other_method);
  EXPECT_FALSE(Find(router, "GET", "/session").other_method);
}

TEST(RouterTest, ASegmentMayHoldAnEncodedSlash) {
  Router router = Example();
  auto raw = Find(router, "GET", "/v1.41/images/localhost/busybox:latest/json");
  ASSERT_NE(raw.route, nullptr);
  EXPECT_EQ(raw.params["name"], "localhost/busybox:latest");
  auto encoded = Find(router, "GET", "/libpod/images/localhost%2Fbusybox/json");
  ASSERT_NE(encoded.route, nullptr);
  EXPECT_EQ(encoded.params["name"], "localhost/busybox");
  auto digest = Find(router, "DELETE", "/images/docker.io/library/busybox@sha256:00");
  ASSERT_NE(digest.route, nullptr);
  EXPECT_EQ(digest.params["name"], "docker.io/library/busybox@sha256:00");
}

TEST(RouterTest, LiteralsComeBeforeNames) {
  Router router = Example();
  auto found = Find(router, "DELETE", "/libpod/images/remove");
  ASSERT_NE(found.route, nullptr);
  EXPECT_TRUE(found.params.empty());
  EXPECT_EQ(Find(router, "DELETE", "/images/remove").params["name"], "remove");
}

TEST(RouterTest, RefusesWhatIsNoPath) {
  Router router = Example();
  for (const char* path : {"/containers/json/", "//containers/json", "/containers//json", "/containers/%zz/json", "/",
                           "", "/containers/%00/json", "/images//json"}) {
    EXPECT_EQ(Find(router, "GET", path).route, nullptr) << path;
  }
}

}  // namespace
}  // namespace davit::api
