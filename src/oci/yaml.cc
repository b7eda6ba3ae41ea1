#include "oci/yaml.h"

#include <yaml-cpp/yaml.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <optional>
#include <string>

#include "base/strings.h"

namespace davit::oci {
namespace {

namespace json = boost::json;

std::optional<int64_t> Number(std::string_view digits, int base) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

json::value Plain(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  std::string_view view = text;
  std::optional<int64_t> number;
  if (view.starts_with("0x")) {
    number = Number(view.substr(2), 16);
  } else if (view.starts_with("0o")) {
    number = Number(view.substr(2), 8);
  } else if (view.size() > 1 && view[0] == '0') {
    number = Number(view.substr(1), 8);
  } else {
    number = Number(view[0] == '+' ? view.substr(1) : view, 10);
  }
  if (number) return *number;
  return json::value(json::string(text.data(), text.size()));
}

class Converter {
 public:
  Converter(size_t max_depth, size_t max_nodes) : max_depth_(max_depth), left_(max_nodes) {}

  Result<json::value> Convert(const YAML::Node& node, size_t depth) {
    if (depth > max_depth_) return ResourceExhausted("nested deeper than " + std::to_string(max_depth_));
    if (left_ == 0) return ResourceExhausted("too many values");
    --left_;
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        return json::value(nullptr);
      case YAML::NodeType::Scalar:
        // Quoted scalars have the tag "!": text whatever they look like.
        if (node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str") return json::value(json::string(node.Scalar()));
        return Plain(node.Scalar());
      case YAML::NodeType::Sequence:
        return Sequence(node, depth);
      case YAML::NodeType::Map:
        return Map(node, depth);
    }
    return InvalidArgument("unknown kind of value");
  }

 private:
  Result<json::value> Sequence(const YAML::Node& node, size_t depth) {
    json::array array;
    for (const YAML::Node& item : node) {
      ASSIGN_OR_RETURN(json::value value, Convert(item, depth + 1));
      array.push_back(std::move(value));
    }
    return json::value(std::move(array));
  }

  Result<json::value> Map(const YAML::Node& node, size_t depth) {
    json::object object;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) return InvalidArgument("a key is no text");
      ASSIGN_OR_RETURN(json::value value, Convert(entry.second, depth + 1));
      const std::string& key = entry.first.Scalar();
      if (object.contains(key)) return InvalidArgument("key \"" + Printable(key) + "\" occurs twice");
      object.emplace(key, std::move(value));
    }
    return json::value(std::move(object));
  }

  size_t max_depth_;
  size_t left_;
};

// yaml-cpp recurses while it reads, with a guard at some hundred levels; brackets are cheaper to count first.
bool NestsTooDeep(std::string_view text, size_t max) {
  size_t depth = 0;
  for (char c : text) {
    if (c == '[' || c == '{') {
      if (++depth > max * 4) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

}  // namespace

Result<std::string> YamlToJson(std::string_view text, size_t max_depth, size_t max_nodes) {
  if (text.find('\0') != std::string_view::npos) return InvalidArgument("contains a NUL byte");
  if (NestsTooDeep(text, max_depth)) return ResourceExhausted("nested deeper than " + std::to_string(max_depth));
  // The library's only way to report: its exceptions end here.
  try {
    ASSIGN_OR_RETURN(json::value value, Converter(max_depth, max_nodes).Convert(YAML::Load(std::string(text)), 0));
    return json::serialize(value);
  } catch (const YAML::Exception& error) {
    return InvalidArgument("line " + std::to_string(error.mark.line + 1) + ", column " +
                           std::to_string(error.mark.column + 1) + ": " + Printable(error.msg, 256));
  } catch (const std::exception& error) {
    return InvalidArgument(Printable(error.what(), 256));
  }
}

}  // namespace davit::oci
