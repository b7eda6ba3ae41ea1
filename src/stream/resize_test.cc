#include "stream/resize.h"

#include <gtest/gtest.h>

namespace davit::stream {
namespace {

using Sizes = std::vector<TerminalSize>;

TEST(ResizeTest, ReadsObjectsCutAnywhere) {
  std::string text = "{\"Width\":80,\"Height\":24}\n{ \"height\" : 50 , \"width\" : 132 }";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    ResizeParser parser;
    Sizes sizes = parser.Feed(std::string_view(text).substr(0, cut));
    for (TerminalSize size : parser.Feed(std::string_view(text).substr(cut))) sizes.push_back(size);
    EXPECT_EQ(sizes, (Sizes{{80, 24}, {132, 50}})) << cut;
  }
}

TEST(ResizeTest, SkipsWhatIsNoSize) {
  ResizeParser parser;
  EXPECT_EQ(parser.Feed("x{} {\"Width\":0,\"Height\":1}{\"Width\":70000,\"Height\":1}{\"Width\":-1,\"Height\":1}"
                        "{\"Width\":1}{\"Width\" 1}{\"Width\":3,\"Height\":4}"),
            (Sizes{{3, 4}}));
}

TEST(ResizeTest, GivesUpOnAnEndlessObject) {
  ResizeParser parser;
  EXPECT_TRUE(parser.Feed("{" + std::string(5000, 'x')).empty());
  EXPECT_TRUE(parser.Feed("}{\"Width\":3,\"Height\":4}").empty());
}

}  // namespace
}  // namespace davit::stream
