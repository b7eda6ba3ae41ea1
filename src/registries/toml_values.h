// TomlValues: values of one file's tables, with errors that name the file, the line and the key. Private to
// registries/.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "config/toml.h"

namespace davit::registries {

inline bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

class TomlValues {
 public:
  explicit TomlValues(std::string file) : file_(std::move(file)) {}

  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] Status Wrong(const toml::node& node, const std::string& what) const {
    return InvalidArgument(fmt::format("{}:{}: {}", file_, node.source().begin.line, what));
  }
  [[nodiscard]] Result<std::string> String(const toml::node& node, std::string_view key) const {
    auto text = node.value_exact<std::string>();
    if (!text) return Wrong(node, fmt::format("{}: expected a string", key));
    return std::move(*text);
  }
  // False where the table does not have it.
  [[nodiscard]] Result<bool> FlagAt(const toml::table& table, std::string_view key) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return false;
    auto flag = node->value_exact<bool>();
    if (!flag) return Wrong(*node, fmt::format("{}: expected true or false", key));
    return *flag;
  }

 private:
  const std::string file_;
};

}  // namespace davit::registries
