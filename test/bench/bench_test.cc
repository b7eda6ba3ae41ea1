#include <gtest/gtest.h>
#include <unistd.h>

#include "processes.h"
#include "report.h"

namespace davit::bench {
namespace {

TEST(ReportTest, InterpolatesQuantiles) {
  EXPECT_EQ(Quantile({}, 0.5), 0);
  EXPECT_EQ(Quantile({7}, 0.95), 7);
  EXPECT_EQ(Quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile({0, 10}, 0.95), 9.5);
}

TEST(ReportTest, ComparesTwoEngines) {
  Report report({"a", "b"});
  report.Add("start", "ms", "a", 10);
  report.Add("start", "ms", "b", 25);
  report.Add("only a", "MB", "a", 1);
  EXPECT_EQ(report.Markdown(),
            "| measure | unit | a median | p95 | n | b median | p95 | n | b / a |\n"
            "|---|---|---:|---:|---:|---:|---:|---:|---:|\n"
            "| start | ms | 10.0 | 10.0 | 1 | 25.0 | 25.0 | 1 | 2.50 |\n"
            "| only a | MB | 1.00 | 1.00 | 1 | - | - | 0 | - |\n");
}

TEST(ProcessesTest, ParsesStatWithBracketsInTheName) {
  auto info = ParseStat("42 (a) (b c) S 7 1 1 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 12345 1000 10\n");
  ASSERT_TRUE(info.ok()) << info.status().ToString();
  EXPECT_EQ(info->pid, 42);
  EXPECT_EQ(info->parent, 7);
  EXPECT_EQ(info->comm, "a) (b c");
  EXPECT_EQ(info->own_ticks, 30u);
  EXPECT_EQ(info->waited_ticks, 70u);
  EXPECT_EQ(info->start, 12345u);
  EXPECT_FALSE(ParseStat("42 (a) S 7").ok());
  EXPECT_FALSE(ParseStat("").ok());
}

TEST(ProcessesTest, FindsDescendants) {
  ProcessTable table;
  for (auto [pid, parent] : {std::pair(1, 0), {2, 1}, {3, 2}, {4, 3}, {5, 1}}) {
    ProcessInfo info;
    info.pid = pid;
    info.parent = parent;
    info.own_ticks = 100;
    table.emplace(pid, info);
  }
  EXPECT_EQ(Descendants(table, 2), (std::set<pid_t>{2, 3, 4}));
  EXPECT_DOUBLE_EQ(CpuSeconds(table, 2), 300.0 / static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

TEST(ProcessesTest, SeesThisProcess) {
  ProcessTable table = ReadProcesses();
  ASSERT_TRUE(table.contains(::getpid()));
  EXPECT_EQ(table.at(::getpid()).parent, ::getppid());
  EXPECT_GT(PssBytes(::getpid()).value_or(0), 0u);
}

}  // namespace
}  // namespace davit::bench
