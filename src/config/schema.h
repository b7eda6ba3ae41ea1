// The schema: every key of the configuration once, with its target, check and help. The reader, Dump()
// and DescribeKeys() walk it; a new key is one line in schema.cc and one member in config.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/config.h"

namespace davit::config {

// What the value of a key looks like in a file.
enum class FieldKind { kString, kInteger, kSize, kBoolean, kStrings };

struct Field {
  // Where the value lives: members of the Config that the schema was made for, which must outlive it.
  using Target = std::variant<std::string*, int64_t*, bool*, std::vector<std::string>*,
                              std::optional<std::vector<std::string>>*, Secret*, LogLevel*>;

  std::string key;  // without its table
  FieldKind kind = FieldKind::kString;
  Target target;
  std::function<Status()> check;  // runs after a value was stored; may bring it into normal form
  std::string help;               // one line, no full stop
};

// "[api]"; the table of the top level has no name.
struct Section {
  std::string name;
  std::vector<Field> fields;
};

// "[runtime.handlers.NAME]": tables whose names the administrator chooses.
struct NamedTables {
  std::string name;         // "runtime.handlers"
  std::string placeholder;  // "NAME"
  std::function<Status(const std::string&)> check_name;
  // Fields of one table, which is made when it is not there.
  std::function<std::vector<Field>(const std::string&)> fields;
  std::function<std::vector<std::string>()> names;
};

struct Schema {
  std::vector<Section> sections;
  std::vector<NamedTables> tables;
};

Schema MakeSchema(Config& config);

// "integer", "list of strings", …
std::string KindName(FieldKind kind);
// The value as TOML; nullopt for an optional without one. Secrets that are set are "***".
std::optional<std::string> RenderValue(const Field& field);
// A TOML basic string with its quotes.
std::string QuoteToml(const std::string& text);

std::string_view LogLevelName(LogLevel level);

}  // namespace davit::config
