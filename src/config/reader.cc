#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/strings.h"
#include "config/checks.h"
#include "config/config.h"
#include "config/schema.h"
#include "config/toml.h"

namespace davit::config {
namespace {

inline constexpr size_t kMaxProblems = 10;
inline constexpr size_t kMaxDottedParts = 32;

std::string_view TypeName(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "a boolean";
    default:
      return "a date or time";
  }
}

// Stores a node's value in a field's target; kInvalidArgument when it has another type.
struct Setter {
  const Field& field;
  const toml::node& node;

  Status operator()(std::string* target) const {
    auto text = node.value_exact<std::string>();
    if (!text) return Wrong("a string");
    if (text->find('\0') != std::string::npos) return InvalidArgument("contains a NUL byte");
    *target = std::move(*text);
    return {};
  }
  Status operator()(int64_t* target) const {
    auto number = node.value_exact<int64_t>();
    if (!number && field.kind == FieldKind::kSize) {
      auto text = node.value_exact<std::string>();
      if (!text) return Wrong("an integer or a size such as \"64 MiB\"");
      ASSIGN_OR_RETURN(*target, ParseSize(*text));
      return {};
    }
    if (!number) return Wrong("an integer");
    *target = *number;
    return {};
  }
  Status operator()(bool* target) const {
    auto flag = node.value_exact<bool>();
    if (!flag) return Wrong("true or false");
    *target = *flag;
    return {};
  }
  Status operator()(std::vector<std::string>* target) const {
    const toml::array* array = node.as_array();
    if (array == nullptr) return Wrong("a list of strings");
    std::vector<std::string> texts;
    for (const toml::node& element : *array) {
      std::string text;
      RETURN_IF_ERROR((Setter{field, element}(&text)));
      texts.push_back(std::move(text));
    }
    *target = std::move(texts);
    return {};
  }
  Status operator()(std::optional<std::vector<std::string>>* target) const {
    std::vector<std::string> texts;
    RETURN_IF_ERROR((*this)(&texts));
    *target = std::move(texts);
    return {};
  }
  Status operator()(Secret* target) const {
    std::string text;
    RETURN_IF_ERROR((*this)(&text));
    *target = Secret(std::move(text));
    return {};
  }
  Status operator()(LogLevel* target) const {
    std::string text;
    RETURN_IF_ERROR((*this)(&text));
    for (LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
      if (LogLevelName(level) != text) continue;
      *target = level;
      return {};
    }
    return CheckOneOf(text, {"debug", "info", "warning", "error"});
  }

  [[nodiscard]] Status Wrong(std::string_view expected) const {
    return InvalidArgument(fmt::format("expected {}, found {}", expected, TypeName(node)));
  }
};

std::string Joined(const std::string& table, std::string_view key) {
  return table.empty() ? std::string(key) : fmt::format("{}.{}", table, key);
}

class Reader {
 public:
  Reader(Schema schema, std::string file) : schema_(std::move(schema)), file_(std::move(file)) {}

  Status Read(const toml::table& root) {
    ReadTable(root, "");
    if (problems_.empty()) return {};
    if (problem_count_ > problems_.size())
      problems_.push_back(fmt::format("and {} more", problem_count_ - problems_.size()));
    return InvalidArgument(Join(problems_, "; "));
  }

 private:
  void Problem(const toml::source_position& where, std::string_view text) {
    ++problem_count_;
    if (problems_.size() < kMaxProblems) problems_.push_back(fmt::format("{}:{}: {}", file_, where.line, text));
  }

  void ReadTable(const toml::table& table, const std::string& path) {
    for (const NamedTables& tables : schema_.tables) {
      if (tables.name == path) return ReadNamed(table, tables);
    }
    static const std::vector<Field> kNone;
    const std::vector<Field>* fields = &kNone;
    for (const Section& section : schema_.sections) {
      if (section.name == path) fields = &section.fields;
    }
    for (const auto& [key, node] : table) {
      std::string child = Joined(path, key.str());
      if (!IsTable(child)) {
        ReadField(*fields, path, key, node);
      } else if (const toml::table* inner = node.as_table()) {
        ReadTable(*inner, child);
      } else {
        Problem(node.source().begin, fmt::format("{}: expected a table, found {}", child, TypeName(node)));
      }
    }
  }

  void ReadNamed(const toml::table& table, const NamedTables& tables) {
    for (const auto& [key, node] : table) {
      std::string name(key.str());
      std::string path = Joined(tables.name, Printable(name));
      const toml::table* inner = node.as_table();
      if (inner == nullptr) {
        Problem(node.source().begin, fmt::format("{}: expected a table, found {}", path, TypeName(node)));
        continue;
      }
      if (Status status = tables.check_name(name); !status.ok()) {
        Problem(key.source().begin, fmt::format("{}: {}", tables.name, status.message()));
        continue;
      }
      std::vector<Field> fields = tables.fields(name);
      for (const auto& [inner_key, inner_node] : *inner) ReadField(fields, path, inner_key, inner_node);
    }
  }

  void ReadField(const std::vector<Field>& fields, const std::string& table, const toml::key& key,
                 const toml::node& node) {
    for (const Field& field : fields) {
      if (field.key != key.str()) continue;
      Status status = std::visit(Setter{field, node}, field.target);
      if (status.ok() && field.check) status = field.check();
      if (!status.ok()) Problem(node.source().begin, fmt::format("{}: {}", Joined(table, field.key), status.message()));
      return;
    }
    Problem(key.source().begin, fmt::format("unknown key \"{}\"{}", Printable(Joined(table, key.str())),
                                            Suggestion(fields, table, std::string(key.str()))));
  }

  // A near name in the same table, else the same name in another.
  std::string Suggestion(const std::vector<Field>& fields, const std::string& table, const std::string& key) const {
    std::vector<std::string> candidates;
    for (const Field& field : fields) candidates.push_back(field.key);
    for (const std::string& name : TableNames()) {
      std::string parent = name.find('.') == std::string::npos ? "" : name.substr(0, name.find('.'));
      if (parent == table) candidates.push_back(parent.empty() ? name : name.substr(parent.size() + 1));
    }
    if (auto near = NearestWord(key, candidates)) return fmt::format("; did you mean \"{}\"?", *near);
    for (const Section& section : schema_.sections) {
      for (const Field& field : section.fields) {
        if (field.key == key) return fmt::format("; did you mean \"{}\"?", Joined(section.name, key));
      }
    }
    return "";
  }

  [[nodiscard]] std::vector<std::string> TableNames() const {
    std::vector<std::string> names;
    for (const Section& section : schema_.sections) {
      if (!section.name.empty()) names.push_back(section.name);
    }
    for (const NamedTables& tables : schema_.tables) names.push_back(tables.name);
    return names;
  }

  [[nodiscard]] bool IsTable(const std::string& path) const {
    std::vector<std::string> names = TableNames();
    return std::find(names.begin(), names.end(), path) != names.end();
  }

  Schema schema_;
  std::string file_;
  std::vector<std::string> problems_;
  size_t problem_count_ = 0;
};

// Length of the key part (bare or quoted) at `at`, 0 when there is none.
size_t KeyPart(std::string_view text, size_t at) {
  if (at < text.size() && (text[at] == '"' || text[at] == '\'')) {
    size_t end = text.find_first_of(text[at] == '"' ? "\"\n" : "'\n", at + 1);
    return end == std::string_view::npos || text[end] == '\n' ? 0 : end + 1 - at;
  }
  size_t end = at;
  while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_' ||
                               text[end] == '-' || static_cast<unsigned char>(text[end]) >= 0x80)) {
    ++end;
  }
  return end - at;
}

// The library recurses once for each part of a dotted key, so a.a.a… of a megabyte would overflow the
// stack. No key of ours has more than four parts.
Status CheckDottedKeys(std::string_view text, const std::string& file) {
  size_t parts = 0;
  size_t line = 1;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\n') ++line;
    size_t length = KeyPart(text, at);
    if (length == 0) {
      ++at;
      parts = 0;
      continue;
    }
    at += length;
    if (++parts > kMaxDottedParts)
      return InvalidArgument(fmt::format("{}:{}: dotted key with too many parts", file, line));
    size_t dot = text.find_first_not_of(" \t", at);
    if (dot == std::string_view::npos || text[dot] != '.') {
      parts = 0;
      continue;
    }
    at = std::min(text.find_first_not_of(" \t", dot + 1), text.size());
    if (KeyPart(text, at) == 0) parts = 0;
  }
  return {};
}

}  // namespace

Result<toml::table> ParseToml(std::string_view text, const std::string& file) {
  if (text.size() > kMaxFileBytes) {
    return ResourceExhausted(fmt::format("{}: {} bytes, over the cap of {}", file, text.size(), kMaxFileBytes));
  }
  RETURN_IF_ERROR(CheckDottedKeys(text, file));
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    return InvalidArgument(
        fmt::format("{}:{}: {}", file, error.source().begin.line, Printable(error.description(), 512)));
  } catch (const std::logic_error& error) {
    return InvalidArgument(fmt::format("{}: {}", file, error.what()));
  }
}

Status Apply(Config& config, std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(toml::table root, ParseToml(text, file));
  return Reader(MakeSchema(config), file).Read(root);
}

}  // namespace davit::config
