// Table: columns that line up, for people. Programs take JSON (-o json) or ids (-q).
//
// Cells come from images, labels and pod specs, which strangers write: control characters never reach the
// terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace davit::cli {

// `text` with every control character (C0, DEL, C1 in UTF-8) as '?'.
std::string Sanitise(std::string_view text);

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}

  // Missing cells are empty, surplus ones are dropped.
  void AddRow(std::vector<std::string> cells);

  // Every line ends with a line feed and has no trailing blanks. `colour`: header in bold and the words
  // for states in colour, with ANSI sequences.
  [[nodiscard]] std::string Render(bool colour = false) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "Key:   value" lines, aligned; values may hold several lines.
class Fields {
 public:
  void Add(std::string key, std::string_view value);
  [[nodiscard]] std::string Render() const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace davit::cli
