#include "cli/take_over.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace davit::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(TakeOverTest, NamesOfContainersStorage) {
  EXPECT_THAT(*NamesInStorage(R"([{"id":"1","names":["b.example/x:1","b.example/x@sha256:0"]},{"id":"2"},
                                  {"id":"3","names":["a.example/y:2","a.example/y:3",7]},3])"),
              ElementsAre("a.example/y:2", "a.example/y:3", "b.example/x:1"));
  EXPECT_THAT(*NamesInStorage("[]"), IsEmpty());
  for (const char* bad : {"", "{}", "[", "null"}) {
    EXPECT_EQ(NamesInStorage(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace davit::cli
