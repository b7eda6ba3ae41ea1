#include "sif/sif.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sif/sif_builder.h"

namespace davit::sif {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

ReadAt Reader(const std::string& file) {
  return [&file](uint64_t offset, size_t size) -> Result<std::string> {
    EXPECT_LE(offset + size, file.size()) << "reads past the end";
    return file.substr(offset, size);
  };
}
Result<Image> ParseFile(const std::string& file) { return Parse(Reader(file), file.size()); }

TEST(SifTest, ReadsWhatAFileHas) {
  SifBuilder builder;
  builder.Add(0x4001, "recipe.def", "Bootstrap: docker\n");
  builder.Add(0x4003, "labels", R"({"a":"b"})");
  builder.AddPartition(SquashfsSuperblock(96));
  std::string extra(24, '\0');
  PutInteger(extra, 0, 1, 4);
  extra.replace(4, 20, std::string(20, '\xab'));
  builder.Add(0x4005, "part-signature", "-----BEGIN PGP SIGNED MESSAGE-----\n", extra, 3);
  Result<Image> image = ParseFile(builder.file());
  ASSERT_TRUE(image.ok()) << image.status().message();
  EXPECT_EQ(image->architecture, "amd64");
  EXPECT_EQ(image->uuid, "01020304-0506-0708-090a-0b0c0d0e0f10");
  EXPECT_EQ(image->created, 1'600'000'000);
  ASSERT_EQ(image->objects.size(), 4u);
  EXPECT_EQ(image->objects[0].name, "recipe.def");
  EXPECT_EQ(*ReadObject(Reader(builder.file()), image->objects[0]), "Bootstrap: docker\n");
  EXPECT_EQ(image->objects[3].signature->fingerprint, "ABABABABABABABABABABABABABABABABABABABAB");
  EXPECT_EQ(image->objects[3].link, 3u);
  EXPECT_FALSE(image->objects[3].links_group);
  Result<Object> root = RootPartition(*image);
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(root->offset % 4096, 0u);
  EXPECT_EQ(root->partition->architecture, "amd64");
}

TEST(SifTest, RefusesWhatIsNoSif) {
  EXPECT_EQ(ParseFile("").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseFile(std::string(4096, 'x')).code(), StatusCode::kInvalidArgument);
  SifBuilder builder;
  builder.file().replace(42, 2, "99");
  EXPECT_EQ(ParseFile(builder.file()).code(), StatusCode::kUnimplemented);
}

TEST(SifTest, NumbersOfTheHeaderAreChecked) {
  struct Case {
    size_t at;
    uint64_t value;
    StatusCode code;
  };
  for (const Case& c :
       {Case{88, uint64_t{1} << 60, StatusCode::kResourceExhausted},
        Case{88, ~uint64_t{0}, StatusCode::kInvalidArgument}, Case{88, 4000, StatusCode::kDataLoss},
        Case{96, uint64_t{1} << 62, StatusCode::kDataLoss}, Case{96, ~uint64_t{0}, StatusCode::kInvalidArgument}}) {
    SifBuilder builder;
    builder.AddPartition(SquashfsSuperblock(96));
    PutInteger(builder.file(), c.at, c.value, 8);
    EXPECT_EQ(ParseFile(builder.file()).code(), c.code) << c.at << " " << c.value;
  }
}

TEST(SifTest, ObjectsLieWithinTheFile) {
  for (uint64_t value : {uint64_t{1} << 40, ~uint64_t{0}, uint64_t{0x7fffffffffffffff}}) {
    for (size_t field : {17, 25}) {
      SifBuilder builder;
      size_t at = builder.AddPartition(SquashfsSuperblock(96));
      PutInteger(builder.file(), at + field, value, 8);
      EXPECT_FALSE(ParseFile(builder.file()).ok()) << field << " " << value;
    }
  }
}

TEST(SifTest, EveryCutFileIsRefused) {
  SifBuilder builder;
  builder.AddPartition(SquashfsSuperblock(4096) + std::string(4000, 'x'));
  const std::string whole = builder.file();
  ASSERT_TRUE(ParseFile(whole).ok());
  for (size_t size = 0; size < whole.size(); size += 509) EXPECT_FALSE(ParseFile(whole.substr(0, size)).ok()) << size;
  EXPECT_FALSE(ParseFile(whole.substr(0, whole.size() - 1)).ok());
}

TEST(SifTest, TwoObjectsWithOneIdAreRefused) {
  SifBuilder builder;
  builder.Add(0x4001, "a", "a");
  size_t at = builder.Add(0x4001, "b", "b");
  PutInteger(builder.file(), at + 5, 1, 4);
  EXPECT_EQ(ParseFile(builder.file()).code(), StatusCode::kInvalidArgument);
}

TEST(SifTest, RootPartitionIsOneSquashfs) {
  auto root = [](auto fill) {
    SifBuilder builder;
    fill(builder);
    return RootPartition(*ParseFile(builder.file()));
  };
  EXPECT_EQ(root([](SifBuilder&) {}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(root([](SifBuilder& b) {
              b.AddPartition("x");
              b.AddPartition("x");
            }).code(),
            StatusCode::kInvalidArgument);
  // A system partition beside the primary one, and data, are nothing to be afraid of.
  EXPECT_TRUE(root([](SifBuilder& b) {
                b.AddPartition("x", 1, 1);
                b.AddPartition("x", 2, 4);
                b.AddPartition("x");
              }).ok());
  Result<Object> ext3 = root([](SifBuilder& b) { b.AddPartition("x", 2); });
  EXPECT_EQ(ext3.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(ext3.status().message(), HasSubstr("ext3"));
  EXPECT_THAT(root([](SifBuilder& b) { b.AddPartition("x", 5); }).status().message(), HasSubstr("encrypted"));
  EXPECT_EQ(root([](SifBuilder& b) { b.AddPartition("x", 77); }).code(), StatusCode::kUnimplemented);
  EXPECT_THAT(root([](SifBuilder& b) { b.Add(0x400A, "index.json", "{}"); }).status().message(), HasSubstr("OCI-SIF"));
}

TEST(SifTest, SquashfsLiesWithinItsPartition) {
  Result<Squashfs> good = ParseSquashfs(SquashfsSuperblock(5000), 8192);
  ASSERT_TRUE(good.ok()) << good.status().message();
  EXPECT_EQ(good->compression, "gzip");
  EXPECT_EQ(good->bytes, 5000u);
  EXPECT_EQ(ParseSquashfs(SquashfsSuperblock(8193), 8192).code(), StatusCode::kDataLoss);
  EXPECT_EQ(ParseSquashfs("hsqs", 8192).code(), StatusCode::kDataLoss);
  struct Field {
    size_t at;
    uint64_t value;
    size_t size;
  };
  for (const Field& field : {Field{0, 0, 4}, Field{28, 3, 2}, Field{20, 0, 2}, Field{20, 9, 2}, Field{12, 4095, 4},
                             Field{22, 21, 2}, Field{64, 6000, 8}}) {
    std::string bad = SquashfsSuperblock(5000);
    PutInteger(bad, field.at, field.value, field.size);
    EXPECT_FALSE(ParseSquashfs(bad, 8192).ok()) << field.at;
  }
}

TEST(SifTest, AnObjectIsNotReadWhenItIsTooLarge) {
  SifBuilder builder;
  builder.Add(0x4001, "recipe.def", std::string(kMaxObjectText + 1, 'x'));
  EXPECT_EQ(ReadObject(Reader(builder.file()), ParseFile(builder.file())->objects[0]).code(),
            StatusCode::kResourceExhausted);
}

TEST(SifTest, LabelsOfEveryBuilder) {
  EXPECT_THAT(*ParseLabels(R"({"a":"1","b":"2","nested":{"c":"3"}})"),
              UnorderedElementsAre(Pair("a", "1"), Pair("b", "2")));
  EXPECT_THAT(*ParseLabels(R"({"data":{"attributes":{"labels":{"a":"1"}}},"type":"container"})"),
              ElementsAre(Pair("a", "1")));
  EXPECT_THAT(*ParseLabels(R"({"system-partition":{"a":"1"}})"), ElementsAre(Pair("a", "1")));
  EXPECT_FALSE(ParseLabels("[]").ok());
  EXPECT_FALSE(ParseLabels("{").ok());
}

TEST(SifTest, EnvironmentThatNeedsNoShell) {
  EXPECT_THAT(PlainAssignments("#!/bin/sh\n"
                               "# Custom environment\n"
                               "export A=1\n"
                               "export B=\"two words\"\n"
                               "  C='$literal'\n"
                               "export D=\"${D:-\"/usr/bin:/bin\"}\"\n"
                               "export PATH=\"/opt/bin:$PATH\"\n"
                               "export A=3\n"
                               "export 1X=no\n"
                               "export E=`id`\n"
                               "export F=${OTHER:-x}\n"),
              ElementsAre("A=3", "B=two words", "C=$literal", "D=/usr/bin:/bin"));
  // A value that only a shell knows takes away what an earlier line said.
  EXPECT_THAT(PlainAssignments("A=1\nA=$B\n"), IsEmpty());
  // Who knows whether it is run.
  EXPECT_THAT(PlainAssignments("A=1\nif test -n \"$X\"; then\nB=2\nfi\n"), ElementsAre("A=1"));
  EXPECT_THAT(PlainAssignments("f() {\nA=1\n}\n"), IsEmpty());
  EXPECT_THAT(PlainAssignments("iface=1\n"), ElementsAre("iface=1"));
}

TEST(SifTest, KindsOfSignatures) {
  EXPECT_EQ(KindOfSignature("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}").format, "pgp");
  EXPECT_TRUE(KindOfSignature("-----BEGIN PGP SIGNED MESSAGE-----\n\nSIFHASH:\nab").legacy);
  EXPECT_EQ(KindOfSignature(R"({"payloadType":"application/vnd.sylabs.sif-metadata+json"})").format, "dsse");
  EXPECT_EQ(KindOfSignature("x").format, "unknown");
}

}  // namespace
}  // namespace davit::sif
