#include "cri/call_metrics.h"

#include <gtest/gtest.h>

#include "runtime/v1/cri.pb.h"

namespace davit::cri {
namespace {

TEST(CallMetricsTest, KnowsTheMethodsOfTheServices) {
  // The generated code is linked only when something of it is used.
  ASSERT_EQ(::runtime::v1::VersionRequest::descriptor()->file()->service_count(), 2);
  CallMetrics metrics({"runtime.v1.RuntimeService", "runtime.v1.ImageService"});
  CallMetrics::Method* list = metrics.Find("/runtime.v1.RuntimeService/ListContainers");
  ASSERT_NE(list, nullptr);
  EXPECT_NE(metrics.Find("/runtime.v1.ImageService/PullImage"), nullptr);
  EXPECT_EQ(metrics.Find("/runtime.v1.RuntimeService/Nothing"), nullptr);

  list->started.Add(3);
  list->by_code[0].Add(1);
  list->by_code[5].Add(1);
  list->seconds.Observe(std::chrono::milliseconds(2));
  MetricsText out;
  metrics.Write(out);
  auto has = [&](const std::string& line) { return out.text().find(line + "\n") != std::string::npos; };
  EXPECT_TRUE(
      has("davitd_cri_calls_total{service=\"runtime.v1.RuntimeService\",method=\"ListContainers\",code=\"OK\"} 1"))
      << out.text();
  EXPECT_TRUE(has(
      "davitd_cri_calls_total{service=\"runtime.v1.RuntimeService\",method=\"ListContainers\",code=\"NOT_FOUND\"} 1"))
      << out.text();
  EXPECT_TRUE(has("davitd_cri_calls_in_flight{service=\"runtime.v1.RuntimeService\",method=\"ListContainers\"} 1"));
  EXPECT_EQ(out.text().find("PullImage"), std::string::npos);
}

}  // namespace
}  // namespace davit::cri
