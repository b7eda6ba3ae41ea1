#include "report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

namespace davit::bench {
namespace {

std::string Number(double value) {
  if (value == 0) return "0";
  return std::abs(value) >= 100  ? fmt::format("{:.0f}", value)
         : std::abs(value) >= 10 ? fmt::format("{:.1f}", value)
                                 : fmt::format("{:.2f}", value);
}

}  // namespace

double Quantile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  double at = share * static_cast<double>(samples.size() - 1);
  auto low = static_cast<size_t>(at);
  size_t high = std::min(low + 1, samples.size() - 1);
  return samples[low] + (samples[high] - samples[low]) * (at - static_cast<double>(low));
}

void Report::Add(const std::string& measure, const std::string& unit, const std::string& engine, double value) {
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.measure == measure; });
  if (row == rows_.end()) row = rows_.insert(rows_.end(), Row{measure, unit, {}});
  row->samples[engine].push_back(value);
}

std::string Report::Markdown() const {
  std::string header = "| measure | unit |";
  std::string rule = "|---|---|";
  for (const std::string& engine : engines_) {
    header += fmt::format(" {} median | p95 | n |", engine);
    rule += "---:|---:|---:|";
  }
  if (engines_.size() == 2) {
    header += fmt::format(" {} / {} |", engines_[1], engines_[0]);
    rule += "---:|";
  }
  std::string out = header + "\n" + rule + "\n";
  for (const Row& row : rows_) {
    out += fmt::format("| {} | {} |", row.measure, row.unit);
    std::vector<double> medians;
    for (const std::string& engine : engines_) {
      auto found = row.samples.find(engine);
      if (found == row.samples.end()) {
        out += " - | - | 0 |";
        continue;
      }
      medians.push_back(Quantile(found->second, 0.5));
      out += fmt::format(" {} | {} | {} |", Number(medians.back()), Number(Quantile(found->second, 0.95)),
                         found->second.size());
    }
    if (engines_.size() == 2) {
      bool comparable = medians.size() == 2 && medians[0] > 0;
      out += comparable ? fmt::format(" {:.2f} |", medians[1] / medians[0]) : " - |";
    }
    out += "\n";
  }
  return out;
}

std::string Report::Json() const {
  boost::json::array rows;
  for (const Row& row : rows_) {
    boost::json::object engines;
    for (const auto& [engine, samples] : row.samples) {
      engines[engine] = {{"median", Quantile(samples, 0.5)},
                         {"p95", Quantile(samples, 0.95)},
                         {"samples", boost::json::value_from(samples)}};
    }
    rows.push_back({{"measure", row.measure}, {"unit", row.unit}, {"engines", engines}});
  }
  return boost::json::serialize(rows) + "\n";
}

}  // namespace davit::bench
