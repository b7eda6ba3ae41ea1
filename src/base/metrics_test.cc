#include "base/metrics.h"

#include <gtest/gtest.h>

namespace davit {
namespace {

TEST(MetricsTextTest, EscapesAndLaysOutFamilies) {
  MetricsText out;
  out.Family("a_total", "counter", "Line\nend and \\.");
  out.Sample("a_total", {}, uint64_t{3});
  out.Sample("a_total", {{"x", "say \"hi\"\\\n"}, {"y", ""}}, 0.5);
  EXPECT_EQ(out.text(),
            "# HELP a_total Line\\nend and \\\\.\n# TYPE a_total counter\na_total 3\n"
            "a_total{x=\"say \\\"hi\\\"\\\\\\n\",y=\"\"} 0.5\n");
}

TEST(MetricsTextTest, BucketsAreCumulativeAndABoundBelongsToItsBucket) {
  Histogram histogram;
  histogram.Observe(std::chrono::microseconds(500));
  histogram.Observe(std::chrono::milliseconds(2));
  histogram.Observe(std::chrono::hours(1));
  MetricsText out;
  out.Sample("h", {{"m", "x"}}, histogram);
  EXPECT_NE(out.text().find("h_bucket{m=\"x\",le=\"0.0005\"} 1\n"), std::string::npos) << out.text();
  EXPECT_NE(out.text().find("h_bucket{m=\"x\",le=\"0.001\"} 1\n"), std::string::npos);
  EXPECT_NE(out.text().find("h_bucket{m=\"x\",le=\"0.0025\"} 2\n"), std::string::npos);
  EXPECT_NE(out.text().find("h_bucket{m=\"x\",le=\"600\"} 2\n"), std::string::npos);
  EXPECT_NE(out.text().find("h_bucket{m=\"x\",le=\"+Inf\"} 3\n"), std::string::npos);
  EXPECT_NE(out.text().find("h_count{m=\"x\"} 3\n"), std::string::npos);
  EXPECT_NE(out.text().find("h_sum{m=\"x\"} 3600.0025\n"), std::string::npos);
  EXPECT_EQ(histogram.count(), 3U);
}

}  // namespace
}  // namespace davit
