#include "cli/table.h"

#include <algorithm>

#include "base/strings.h"

namespace davit::cli {
namespace {

constexpr size_t kGap = 3;

// Columns on the screen, taking each UTF-8 code point as one.
size_t Width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string_view ColourOf(std::string_view cell) {
  if (cell == "READY" || cell == "RUNNING") return "\x1b[32m";
  if (cell == "NOTREADY" || cell == "EXITED" || cell == "UNKNOWN") return "\x1b[31m";
  if (cell == "CREATED") return "\x1b[33m";
  return {};
}

void AppendCell(std::string& line, const std::string& cell, size_t width, bool last, std::string_view colour) {
  if (!colour.empty()) line += colour;
  line += cell;
  if (!colour.empty()) line += "\x1b[0m";
  if (!last) line.append(width + kGap - Width(cell), ' ');
}

}  // namespace

std::string Sanitise(std::string_view text) {
  std::string out(text);
  for (size_t i = 0; i < out.size(); ++i) {
    auto byte = static_cast<unsigned char>(out[i]);
    bool c1 = byte == 0xc2 && i + 1 < out.size() && static_cast<unsigned char>(out[i + 1]) >= 0x80 &&
              static_cast<unsigned char>(out[i + 1]) < 0xa0;
    if (c1) out.erase(i, 1);
    if (byte < 0x20 || byte == 0x7f || c1) out[i] = '?';
  }
  return out;
}

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(header_.size());
  for (std::string& cell : cells) cell = Sanitise(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Render(bool colour) const {
  std::vector<size_t> widths;
  for (const std::string& cell : header_) widths.push_back(Width(cell));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string out;
  auto add = [&](const std::vector<std::string>& cells, bool header) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      std::string_view code = !colour ? "" : header ? "\x1b[1m" : ColourOf(cells[i]);
      AppendCell(line, cells[i], widths[i], i + 1 == cells.size(), code);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  add(header_, true);
  for (const auto& row : rows_) add(row, false);
  return out;
}

void Fields::Add(std::string key, std::string_view value) {
  fields_.emplace_back(std::move(key) + ":", std::string(value));
}

std::string Fields::Render() const {
  size_t width = 0;
  for (const auto& field : fields_) width = std::max(width, Width(field.first));
  std::string out;
  for (const auto& [key, value] : fields_) {
    std::string line = key;
    for (const std::string& part : Split(value, '\n')) {
      line.append(width + 2 - Width(line), ' ');
      line += Sanitise(part);
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
      line.clear();
    }
  }
  return out;
}

}  // namespace davit::cli
