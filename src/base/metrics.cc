#include "base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace davit {
namespace {

void AppendEscaped(std::string& out, std::string_view text, bool quotes) {
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\' || (quotes && c == '"')) {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
}

}  // namespace

void Histogram::Observe(std::chrono::nanoseconds duration) {
  double seconds = std::chrono::duration<double>(duration).count();
  auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  buckets_[static_cast<size_t>(bound - kBounds.begin())].Add();
  sum_nanos_.Add(duration.count() > 0 ? static_cast<uint64_t>(duration.count()) : 0);
}

uint64_t Histogram::count() const {
  uint64_t count = 0;
  for (const Counter& bucket : buckets_) count += bucket.value();
  return count;
}

void MetricsText::Family(std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(text_), "# HELP {} ", name);
  AppendEscaped(text_, help, /*quotes=*/false);
  fmt::format_to(std::back_inserter(text_), "\n# TYPE {} {}\n", name, type);
}

void MetricsText::Start(std::string_view name, std::string_view suffix, const Labels& labels) {
  text_ += name;
  text_ += suffix;
  if (labels.empty()) return;
  char separator = '{';
  for (const auto& [key, value] : labels) {
    text_ += separator;
    text_ += key;
    text_ += "=\"";
    AppendEscaped(text_, value, /*quotes=*/true);
    text_ += '"';
    separator = ',';
  }
  text_ += '}';
}

void MetricsText::Sample(std::string_view name, const Labels& labels, uint64_t value) {
  Start(name, "", labels);
  fmt::format_to(std::back_inserter(text_), " {}\n", value);
}

void MetricsText::Sample(std::string_view name, const Labels& labels, double value) {
  Start(name, "", labels);
  fmt::format_to(std::back_inserter(text_), " {}\n", value);
}

void MetricsText::Sample(std::string_view name, const Labels& labels, const Histogram& histogram) {
  uint64_t below = 0;
  for (size_t i = 0; i <= Histogram::kBounds.size(); ++i) {
    below += histogram.bucket(i);
    std::string bound = i < Histogram::kBounds.size() ? fmt::format("{}", Histogram::kBounds[i]) : "+Inf";
    Labels with_bound = labels;
    with_bound.emplace_back("le", bound);
    Start(name, "_bucket", with_bound);
    fmt::format_to(std::back_inserter(text_), " {}\n", below);
  }
  Start(name, "_sum", labels);
  fmt::format_to(std::back_inserter(text_), " {}\n", static_cast<double>(histogram.sum_nanos()) / 1e9);
  // The same counts as the last bucket, even while calls go on.
  Start(name, "_count", labels);
  fmt::format_to(std::back_inserter(text_), " {}\n", below);
}

}  // namespace davit
