#include "registries/registries_conf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sys/atomic_file.h"
#include "sys/temp_dir.h"

namespace davit::registries {
namespace {

using ::testing::HasSubstr;

RegistriesConf Conf(std::string_view text) {
  Result<RegistriesConf> conf = ParseRegistriesConf(text, "r.conf");
  EXPECT_TRUE(conf.ok()) << conf.status().ToString();
  return conf.ok() ? *conf : RegistriesConf();
}
std::string Error(std::string_view text) {
  Result<RegistriesConf> conf = ParseRegistriesConf(text, "r.conf");
  EXPECT_EQ(conf.code(), StatusCode::kInvalidArgument) << text;
  return conf.status().message();
}
// Where the image goes: "prefix -> rewritten", or "-".
std::string Where(const RegistriesConf& conf, std::string_view name) {
  const image::Reference reference = *image::Reference::Parse(name);
  const RegistryEntry* entry = FindEntry(conf, reference);
  return entry == nullptr ? "-" : entry->prefix + " -> " + Rewrite(*entry, entry->registry, reference);
}

TEST(RegistriesConfTest, TheLongestPrefixCountsAtItsBoundary) {
  const RegistriesConf conf = Conf(R"(
[[registry]]
prefix = "example.com"
location = "one.example/x"
[[registry]]
prefix = "example.com/team"
location = "two.example"
[[registry]]
prefix = "example.com/team/app"
location = "three.example:5000/app"
)");
  EXPECT_EQ(Where(conf, "example.com/a"), "example.com -> one.example/x/a");
  EXPECT_EQ(Where(conf, "example.com/teams/a"), "example.com -> one.example/x/teams/a");
  EXPECT_EQ(Where(conf, "example.com/team/a/b"), "example.com/team -> two.example/a/b");
  EXPECT_EQ(Where(conf, "example.com/team/app"), "example.com/team/app -> three.example:5000/app");
  EXPECT_EQ(Where(conf, "example.com/team/app/z"), "example.com/team/app -> three.example:5000/app/z");
  EXPECT_EQ(Where(conf, "example.com.org/a"), "-");
  EXPECT_EQ(Where(conf, "example.com:5000/a"), "-");
  EXPECT_EQ(Where(conf, "sub.example.com/a"), "-");
}

TEST(RegistriesConfTest, AWildcardIsForSubdomains) {
  const RegistriesConf conf = Conf(R"(
[[registry]]
prefix = "*.example.com"
location = "all.example/x"
[[registry]]
prefix = "*.deep.example.com"
[[registry.mirror]]
location = "mirror.example"
)");
  EXPECT_EQ(Where(conf, "a.example.com/b/c"), "*.example.com -> all.example/x/b/c");
  EXPECT_EQ(Where(conf, "a.b.example.com:5000/c"), "*.example.com -> all.example/x/c");
  EXPECT_EQ(Where(conf, "a.deep.example.com/c"), "*.deep.example.com -> a.deep.example.com/c")
      << "no location: as named";
  EXPECT_EQ(Where(conf, "example.com/c"), "-");
  EXPECT_EQ(Where(conf, "badexample.com/c"), "-");
  const image::Reference reference = *image::Reference::Parse("a.deep.example.com/c");
  const RegistryEntry* deep = FindEntry(conf, reference);
  ASSERT_NE(deep, nullptr);
  EXPECT_EQ(Rewrite(*deep, deep->mirrors[0], reference), "mirror.example/c");
}

TEST(RegistriesConfTest, APrefixMayBeOneTagOrDigest) {
  const std::string digest = "@sha256:" + std::string(64, 'a');
  const RegistriesConf conf = Conf(
      "[[registry]]\nprefix='r.example/app:2'\nlocation='m.example/app:2'\n"
      "[[registry]]\nprefix='r.example/app" +
      digest +
      "'\nlocation='m.example/by/digest'\n"
      "[[registry]]\nprefix='r.example/app'\nlocation='r.example/app'\n");
  EXPECT_EQ(Where(conf, "r.example/app:2"), "r.example/app:2 -> m.example/app");
  EXPECT_EQ(Where(conf, "r.example/app:1"), "r.example/app -> r.example/app");
  EXPECT_EQ(Where(conf, "r.example/app:22"), "r.example/app -> r.example/app");
  EXPECT_EQ(Where(conf, "r.example/app:1" + digest), "r.example/app" + digest + " -> m.example/by/digest");
}

TEST(RegistriesConfTest, ABlockedRegistryIsBlockedInAnySpelling) {
  const RegistriesConf conf = Conf(R"(
[[registry]]
location = "r.example"
blocked = true
[[registry]]
location = "docker.io"
blocked = true
[[registry]]
location = "index.docker.io/team"
[[registry]]
location = "Upper.Example/sub"
blocked = true
[[registry]]
location = "apps.example/app:bad"
blocked = true
[[registry]]
location = "*.example"
[[registry]]
location = "two.example"
blocked = true
[[registry]]
location = "two.example:443"
)");
  auto blocked = [&](std::string_view name) { return FindBlock(conf, *image::Reference::Parse(name)) != nullptr; };
  EXPECT_TRUE(blocked("r.example/a"));
  EXPECT_TRUE(blocked("R.Example/a"));
  EXPECT_TRUE(blocked("r.example:443/a"));
  EXPECT_TRUE(blocked("busybox"));
  EXPECT_TRUE(blocked("registry-1.docker.io/library/busybox"));
  EXPECT_TRUE(blocked("upper.example/sub/a"));
  EXPECT_TRUE(blocked("apps.example/app:bad"));
  EXPECT_TRUE(blocked("Apps.example/app:bad"));
  EXPECT_TRUE(blocked("two.example/a"));
  EXPECT_FALSE(blocked("two.example:443/a")) << "it has an entry of its own";
  EXPECT_FALSE(blocked("apps.example/app:good"));
  EXPECT_FALSE(blocked("upper.example/a"));
  EXPECT_FALSE(blocked("team/app"));
  EXPECT_FALSE(blocked("r.example:5000/a"));
}

TEST(RegistriesConfTest, AnAliasIsOfAFullName) {
  EXPECT_THAT(Error("[aliases]\n\na = 'team/app'\n"), HasSubstr("r.conf:3: aliases: a = \"team/app\": write host"));
  EXPECT_THAT(Error("[aliases]\na = 'b'\n"), HasSubstr("write host"));
  EXPECT_THAT(Error("[aliases]\na = 'r.example/a:1'\n"), HasSubstr("without a tag"));
  EXPECT_THAT(Error("[aliases]\n'r.example/a' = 'r.example/b'\n"), HasSubstr("is no name without"));
  EXPECT_THAT(Error("[aliases]\n'a:1' = 'r.example/b'\n"), HasSubstr("is no name without"));
  EXPECT_EQ(Conf("[aliases]\n'team/a' = 'r.example:5000/b'\nb = ''\nc = 'docker.io/library/c'\n").aliases.size(), 3u);
}

TEST(RegistriesConfTest, WindowsFilesAndMarksOfEditors) {
  EXPECT_EQ(Conf("\xEF\xBB\xBF[[registry]]\r\nlocation = 'a.example' # \xC3\xA4\r\n").entries.size(), 1u);
  EXPECT_THAT(Error("[[registry]]\nlocation = 'a\xFF'\n"), HasSubstr("r.conf"));
}

TEST(RegistriesConfTest, MirrorsKeepTheirOrderAndWhatTheyServe) {
  const RegistriesConf conf = Conf(R"(
[[registry]]
location = "example.com"
insecure = true
[[registry.mirror]]
location = "a.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "b.example/sub/"
insecure = true
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "c.example"
[[registry]]
location = "digests.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "d.example"
)");
  ASSERT_EQ(conf.entries.size(), 2u);
  EXPECT_EQ(conf.entries[0].prefix, "example.com");
  EXPECT_TRUE(conf.entries[0].registry.insecure);
  EXPECT_EQ(conf.entries[0].where, "r.conf:2");
  ASSERT_EQ(conf.entries[0].mirrors.size(), 3u);
  EXPECT_EQ(conf.entries[0].mirrors[0].take, Take::kDigests);
  EXPECT_FALSE(conf.entries[0].mirrors[0].insecure);
  EXPECT_EQ(conf.entries[0].mirrors[1].location, "b.example/sub");
  EXPECT_EQ(conf.entries[0].mirrors[1].take, Take::kTags);
  EXPECT_TRUE(conf.entries[0].mirrors[1].insecure);
  EXPECT_EQ(conf.entries[0].mirrors[2].take, Take::kAll);
  EXPECT_EQ(conf.entries[1].mirrors[0].take, Take::kDigests);
}

TEST(RegistriesConfTest, WhatContradictsItselfIsNamedWithItsLine) {
  EXPECT_THAT(Error("[registries.search]\nregistries = ['a']\n"), HasSubstr("version 1"));
  EXPECT_THAT(Error("\n[[registry]]\nprefix = 'a.b/c'\n"), HasSubstr("r.conf:2: registry \"a.b/c\" has no location"));
  EXPECT_THAT(Error("[[registry]]\nblocked = true\n"), HasSubstr("neither a prefix nor a location"));
  EXPECT_THAT(Error("[[registry]]\nprefix='*.a/b'\nlocation='x'\n"), HasSubstr("a wildcard stands for"));
  EXPECT_THAT(Error("[[registry]]\nprefix='a.*.b'\nlocation='x'\n"), HasSubstr("only be its beginning"));
  EXPECT_THAT(Error("[[registry]]\nlocation='https://x'\n"), HasSubstr("is a URL"));
  EXPECT_THAT(Error("[[registry]]\nlocation='x'\ninsecure='yes'\n"), HasSubstr("r.conf:3: insecure: expected true"));
  EXPECT_THAT(Error("[[registry]]\nlocation='x'\n[[registry.mirror]]\ninsecure=true\n"), HasSubstr("no location"));
  EXPECT_THAT(Error("[[registry]]\nlocation='x'\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='some'\n"),
              HasSubstr("\"some\" is none of"));
  EXPECT_THAT(Error("[[registry]]\nlocation='x'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m'\n"
                    "pull-from-mirror='all'\n"),
              HasSubstr("not together"));
  EXPECT_THAT(Error("[[registry]]\nlocation='x'\n[[registry]]\nlocation='x'\nblocked=true\n"),
              HasSubstr("otherwise than"));
  EXPECT_THAT(Error("short-name-mode = 'maybe'\n"), HasSubstr("\"maybe\" is none of"));
  EXPECT_THAT(Error("registry = 3\n"), HasSubstr("r.conf:1: registry: expected"));
  EXPECT_THAT(Error("unqualified-search-registries = [1]\n"), HasSubstr("expected a string"));
  EXPECT_THAT(Error("x = \n"), HasSubstr("r.conf:1"));
  Conf("credential-helpers = ['a']\n[unknown]\nx = 1\n");  // of other programs, and of later versions
}

TEST(RegistriesConfTest, NamesWithoutARegistry) {
  auto meanings = [](std::string_view text, std::string_view name) -> std::string {
    Result<image::ShortNames> names = ShortNamesOf(Conf(text), "default.example");
    if (!names.ok()) return names.status().message();
    Result<std::vector<image::Reference>> found = names->ForPull(name);
    if (!found.ok()) return found.status().message();
    std::string out;
    for (const image::Reference& reference : *found) out += reference.Name() + " ";
    return out;
  };
  EXPECT_EQ(meanings("", "a"), "default.example/a ");
  EXPECT_EQ(meanings("[aliases]\na='x.example/a'\n", "a"), "default.example/a ") << "no search: docker's rule";
  EXPECT_EQ(meanings("unqualified-search-registries=['docker.io','r.example:5000']", "a"),
            "docker.io/library/a r.example:5000/a ");
  EXPECT_THAT(meanings("unqualified-search-registries=['x.example','y.example']\nshort-name-mode='enforcing'", "a"),
              HasSubstr("may be any"));
  EXPECT_THAT(meanings("unqualified-search-registries=['x/y']", "a"), HasSubstr("\"x/y\" is no host"));
}

TEST(RegistriesConfTest, DropinsReplaceEntriesAndAddAliases) {
  sys::TempDir directory;
  const std::string path = directory.path() + "/registries.conf";
  EXPECT_TRUE(LoadRegistriesConf(path)->entries.empty()) << "nothing there is no error";
  ASSERT_EQ(::mkdir((path + ".d").c_str(), 0755), 0);
  ASSERT_TRUE(sys::WriteFileAtomic(path,
                                   "unqualified-search-registries = ['one.example']\n[[registry]]\n"
                                   "location='a.example'\nblocked=true\n[aliases]\nx='r.example/x'\n",
                                   0644, sys::Durability::kAtomic)
                  .ok());
  ASSERT_TRUE(sys::WriteFileAtomic(path + ".d/20.conf",
                                   "[[registry]]\nlocation='a.example'\n[aliases]\ny='r.example/y'\n", 0644,
                                   sys::Durability::kAtomic)
                  .ok());
  ASSERT_TRUE(sys::WriteFileAtomic(path + ".d/10.conf", "[[registry]]\nlocation='a.example'\nblocked=true\n", 0644,
                                   sys::Durability::kAtomic)
                  .ok());
  ASSERT_TRUE(sys::WriteFileAtomic(path + ".d/30.txt", "not read", 0644, sys::Durability::kAtomic).ok());
  Result<RegistriesConf> conf = LoadRegistriesConf(path);
  ASSERT_TRUE(conf.ok()) << conf.status().ToString();
  ASSERT_EQ(conf->entries.size(), 1u);
  EXPECT_FALSE(conf->entries[0].blocked);
  EXPECT_THAT(conf->entries[0].where, HasSubstr("20.conf:1"));
  EXPECT_EQ(conf->aliases.size(), 2u);
  EXPECT_EQ(conf->search->front(), "one.example");
  ASSERT_EQ(::mkdir((path + ".d/35.conf").c_str(), 0755), 0);
  EXPECT_TRUE(LoadRegistriesConf(path).ok()) << "directories are not read";
  ASSERT_EQ(::mkdir((path + "2").c_str(), 0755), 0);
  EXPECT_EQ(LoadRegistriesConf(path + "2").code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(sys::WriteFileAtomic(path + ".d/40.conf", "[[", 0644, sys::Durability::kAtomic).ok());
  EXPECT_THAT(LoadRegistriesConf(path).status().message(), HasSubstr("40.conf:1"));
}

}  // namespace
}  // namespace davit::registries
