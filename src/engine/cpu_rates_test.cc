#include "engine/cpu_rates.h"

#include <gtest/gtest.h>

namespace davit::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(CpuRatesTest, IsTheUseBetweenTwoSamples) {
  CpuRates rates;
  CpuRates::Clock::time_point now{std::chrono::hours(1)};
  EXPECT_EQ(rates.Sample("/a", 5'000'000'000, now), std::nullopt);
  EXPECT_EQ(rates.Sample("/a", 5'100'000'000, now + milliseconds(100)), std::nullopt);  // too near
  EXPECT_EQ(rates.Sample("/a", 6'000'000'000, now + seconds(2)), 500'000'000U);
  EXPECT_EQ(rates.Sample("/a", 9'000'000'000, now + milliseconds(2500)), 500'000'000U);  // the same window
  EXPECT_EQ(rates.Sample("/a", 9'000'000'000, now + seconds(4)), 1'500'000'000U);
  EXPECT_EQ(rates.Sample("/b", 1, now + seconds(4)), std::nullopt);
}

TEST(CpuRatesTest, ACounterThatGoesBackBeginsAnew) {
  CpuRates rates;
  CpuRates::Clock::time_point now{std::chrono::hours(1)};
  rates.Sample("/a", 1000, now);
  EXPECT_EQ(rates.Sample("/a", 10, now + seconds(2)), std::nullopt);
  EXPECT_EQ(rates.Sample("/a", 10, now + seconds(4)), 0U);
}

TEST(CpuRatesTest, WhatNobodyAsksForIsForgotten) {
  CpuRates rates;
  CpuRates::Clock::time_point now{std::chrono::hours(1)};
  rates.Sample("/a", 1000, now);
  EXPECT_EQ(rates.Sample("/a", 2000, now + CpuRates::kForget + seconds(1)), std::nullopt);
}

}  // namespace
}  // namespace davit::engine
