// Samples and the tables made of them.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace davit::bench {

// By linear interpolation between the two nearest ranks; `share` from 0 to 1. 0 without samples.
double Quantile(std::vector<double> samples, double share);

// Samples of one measure, by engine. Measures keep the order of their first sample.
class Report {
 public:
  explicit Report(std::vector<std::string> engines) : engines_(std::move(engines)) {}

  void Add(const std::string& measure, const std::string& unit, const std::string& engine, double value);
  [[nodiscard]] bool empty() const { return rows_.empty(); }

  // One row a measure: median and 95th percentile of each engine, number of samples, and the ratio of the
  // second engine's median to the first's (above 1: the first needs less).
  [[nodiscard]] std::string Markdown() const;
  [[nodiscard]] std::string Json() const;  // with all samples

 private:
  struct Row {
    std::string measure;
    std::string unit;
    std::map<std::string, std::vector<double>> samples;
  };
  std::vector<std::string> engines_;
  std::vector<Row> rows_;
};

}  // namespace davit::bench
