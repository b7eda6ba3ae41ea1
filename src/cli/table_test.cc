#include "cli/table.h"

#include <gtest/gtest.h>

namespace davit::cli {
namespace {

TEST(TableTest, AlignsColumnsAndLeavesNoTrailingBlanks) {
  Table table({"ID", "NAME", "STATE"});
  table.AddRow({"1", "a-long-name", "READY"});
  table.AddRow({"22", "b", ""});
  EXPECT_EQ(table.Render(),
            "ID   NAME          STATE\n"
            "1    a-long-name   READY\n"
            "22   b\n");
}

TEST(TableTest, CountsCodePointsAsColumns) {
  Table table({"N", "X"});
  table.AddRow({"é", "1"});
  table.AddRow({"ab", "2"});
  EXPECT_EQ(table.Render(), "N    X\né    1\nab   2\n");
}

TEST(TableTest, ColourDoesNotChangeTheWidths) {
  Table table({"STATE", "X"});
  table.AddRow({"READY", "1"});
  EXPECT_EQ(table.Render(true), "\x1b[1mSTATE\x1b[0m   \x1b[1mX\x1b[0m\n\x1b[32mREADY\x1b[0m   1\n");
}

TEST(TableTest, KeepsControlCharactersFromTheTerminal) {
  Table table({"NAME"});
  table.AddRow({"x\x1b]0;owned\x07\n\xc2\x9b"});
  EXPECT_EQ(table.Render(), "NAME\nx?]0;owned???\n");
}

TEST(TableTest, MissingCellsAreEmptyAndSurplusOnesDropped) {
  Table table({"A", "B"});
  table.AddRow({"1"});
  table.AddRow({"1", "2", "3"});
  EXPECT_EQ(table.Render(), "A   B\n1\n1   2\n");
}

TEST(FieldsTest, AlignsValuesOfSeveralLines) {
  Fields fields;
  fields.Add("ID", "1");
  fields.Add("Labels", "a=1\nb=2");
  fields.Add("Empty", "");
  EXPECT_EQ(fields.Render(),
            "ID:      1\n"
            "Labels:  a=1\n"
            "         b=2\n"
            "Empty:\n");
}

}  // namespace
}  // namespace davit::cli
