#include "pod/user_namespace.h"

#include <gtest/gtest.h>

namespace davit::pod {
namespace {

PodSpec WithMapping(IdMapping mapping) {
  PodSpec spec;
  spec.user = UserNamespace{NamespaceMode::kPod, {mapping}, {mapping}};
  return spec;
}

TEST(UserNamespaceTest, OneMappingOfContainerIdZeroIsTaken) {
  PodSpec spec = WithMapping({100'000, 0, 65'536});
  ASSERT_TRUE(ValidateUserNamespace(spec).ok());
  EXPECT_TRUE(spec.has_user_namespace());
  EXPECT_EQ(MappedRootUser(spec), 100'000u);
  EXPECT_EQ(ToIdMap(spec).gids[0].length, 65'536u);
  // The last id that there is: 2^32-2.
  EXPECT_TRUE(ValidateUserNamespace(WithMapping({4'294'967'294u, 0, 1})).ok());
}

TEST(UserNamespaceTest, TheNodesIsTheDefault) {
  PodSpec spec;
  EXPECT_TRUE(ValidateUserNamespace(spec).ok());
  spec.user = UserNamespace{};
  EXPECT_TRUE(ValidateUserNamespace(spec).ok());
  EXPECT_FALSE(spec.has_user_namespace());
  EXPECT_EQ(MappedRootUser(spec), 0u);
}

TEST(UserNamespaceTest, EverythingElseIsRefusedByName) {
  struct Case {
    PodSpec spec;
    const char* text;
  };
  auto with = [](auto change) {
    PodSpec spec = WithMapping({100'000, 0, 65'536});
    change(spec);
    return spec;
  };
  const Case cases[] = {
      {with([](PodSpec& s) { s.user->mode = NamespaceMode::kContainer; }), ".mode: CONTAINER"},
      {with([](PodSpec& s) { s.user->mode = NamespaceMode::kTarget; }), ".mode: TARGET"},
      {with([](PodSpec& s) { s.user->mode = NamespaceMode::kNode; }), "mode NODE with mappings"},
      {with([](PodSpec& s) {
         s.user->uids.push_back({300'000, 65'536, 1});
       }),
       ".uids: 2 mappings"},
      {with([](PodSpec& s) { s.user->gids.clear(); }), ".gids: 0 mappings"},
      {WithMapping({100'000, 1, 65'536}), "container ID 0 must be mapped"},
      {WithMapping({100'000, 0, 0}), ".uids[0].length is 0"},
      {WithMapping({4'294'967'295u, 0, 1}), "go past 4294967294"},
      {WithMapping({4'294'900'000u, 0, 100'000}), "go past 4294967294"},
      {with([](PodSpec& s) { s.user->gids[0].host_id = 1; }), "uids and gids differ"},
      {with([](PodSpec& s) { s.network = NamespaceMode::kNode; }), "network namespace"},
      {with([](PodSpec& s) { s.ipc = NamespaceMode::kNode; }), "IPC namespace"},
      {with([](PodSpec& s) { s.pid = NamespaceMode::kNode; }), "PID namespace"},
  };
  for (const Case& c : cases) {
    Status status = ValidateUserNamespace(c.spec);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_NE(status.message().find(c.text), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("userns_options"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace davit::pod
