// What is read back out of a schema: the effective configuration, and the documentation of its keys.

#include <fmt/format.h>

#include "base/strings.h"
#include "config/config.h"
#include "config/schema.h"

namespace davit::config {
namespace {

std::string Quoted(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  quoted.reserve(texts.size());
  for (const std::string& text : texts) quoted.push_back(QuoteToml(text));
  return fmt::format("[{}]", Join(quoted, ", "));
}

struct Renderer {
  std::optional<std::string> operator()(const std::string* text) const { return QuoteToml(*text); }
  std::optional<std::string> operator()(const int64_t* number) const { return std::to_string(*number); }
  std::optional<std::string> operator()(const bool* flag) const { return *flag ? "true" : "false"; }
  std::optional<std::string> operator()(const std::vector<std::string>* texts) const { return Quoted(*texts); }
  std::optional<std::string> operator()(const std::optional<std::vector<std::string>>* texts) const {
    if (!texts->has_value()) return std::nullopt;
    return Quoted(**texts);
  }
  std::optional<std::string> operator()(const Secret* secret) const {
    if (secret->empty()) return std::nullopt;
    return "\"***\"";
  }
  std::optional<std::string> operator()(const LogLevel* level) const {
    return QuoteToml(std::string(LogLevelName(*level)));
  }
};

// A key that is no bare key is quoted: host names have dots.
std::string TableKey(const std::string& name) {
  bool bare = !name.empty() && name.find_first_not_of(
                                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_-") == std::string::npos;
  return bare ? name : QuoteToml(name);
}

std::string DumpFields(const std::vector<Field>& fields) {
  std::string text;
  for (const Field& field : fields) {
    if (auto value = RenderValue(field)) text += fmt::format("{} = {}\n", field.key, *value);
  }
  return text;
}

void Describe(const std::string& table, const std::vector<Field>& fields, std::vector<KeyHelp>& out) {
  for (const Field& field : fields) {
    std::string key = table.empty() ? field.key : fmt::format("{}.{}", table, field.key);
    out.push_back({std::move(key), KindName(field.kind), RenderValue(field).value_or(""), field.help});
  }
}

}  // namespace

std::string KindName(FieldKind kind) {
  switch (kind) {
    case FieldKind::kString:
      return "string";
    case FieldKind::kInteger:
      return "integer";
    case FieldKind::kSize:
      return "size";
    case FieldKind::kBoolean:
      return "boolean";
    case FieldKind::kStrings:
      return "list of strings";
  }
  return "string";
}

std::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

std::string QuoteToml(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::optional<std::string> RenderValue(const Field& field) { return std::visit(Renderer(), field.target); }

std::string Dump(const Config& config) {
  // The schema points into a Config that it may write to, so it gets a copy.
  Config copy = config;
  Schema schema = MakeSchema(copy);
  std::string text;
  for (const Section& section : schema.sections) {
    if (!section.name.empty()) text += fmt::format("\n[{}]\n", section.name);
    text += DumpFields(section.fields);
    for (const NamedTables& tables : schema.tables) {
      if (tables.name.substr(0, tables.name.find('.')) != section.name) continue;
      for (const std::string& name : tables.names()) {
        text += fmt::format("\n[{}.{}]\n{}", tables.name, TableKey(name), DumpFields(tables.fields(name)));
      }
    }
  }
  return text;
}

std::vector<KeyHelp> DescribeKeys() {
  Config defaults;
  Schema schema = MakeSchema(defaults);
  std::vector<KeyHelp> keys;
  for (const Section& section : schema.sections) {
    Describe(section.name, section.fields, keys);
    for (const NamedTables& tables : schema.tables) {
      if (tables.name.substr(0, tables.name.find('.')) != section.name) continue;
      // The placeholder is a table like any other, in a Config that is thrown away.
      Describe(fmt::format("{}.{}", tables.name, tables.placeholder), tables.fields(tables.placeholder), keys);
    }
  }
  return keys;
}

}  // namespace davit::config
