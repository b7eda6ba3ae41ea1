// Counters and histograms of davitd itself, and their text in Prometheus' exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Counting is one relaxed atomic addition:
// nothing is read or written together.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace davit {

class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  [[nodiscard]] uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Durations, in buckets from half a millisecond to ten minutes: from a list to a large pull.
class Histogram {
 public:
  static constexpr std::array<double, 16> kBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,   0.5,   1,      2.5,   10,   30,    120,  600};
  void Observe(std::chrono::nanoseconds duration);

  [[nodiscard]] uint64_t bucket(size_t i) const { return buckets_[i].value(); }  // not cumulative; the last: +Inf
  [[nodiscard]] uint64_t sum_nanos() const { return sum_nanos_.value(); }
  [[nodiscard]] uint64_t count() const;

 private:
  std::array<Counter, kBounds.size() + 1> buckets_;
  Counter sum_nanos_;
};

// Builds one answer. The samples of a family follow its Family() at once, as the format wants it.
class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  void Family(std::string_view name, std::string_view type, std::string_view help);
  void Sample(std::string_view name, const Labels& labels, uint64_t value);
  void Sample(std::string_view name, const Labels& labels, double value);
  void Sample(std::string_view name, const Labels& labels, const Histogram& histogram);

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void Start(std::string_view name, std::string_view suffix, const Labels& labels);
  std::string text_;
};

}  // namespace davit
