#include "oci/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>

#include "base/strings.h"

namespace davit::oci {
namespace json = boost::json;
namespace {

std::string_view KindName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number with a fraction or exponent";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "something else";
}

std::string Copy(const json::string& text) { return {text.data(), text.size()}; }

std::string ChildPath(const std::string& path, std::string_view key) {
  // A document without a name of its own: its members are named from its top.
  return path.empty() ? Printable(key, 64) : fmt::format("{}.{}", path, Printable(key, 64));
}

// Boost reads 1e999 as infinity and 0e999 as NaN and then writes "Infinity" and "NaN", which is no JSON.
// The recursion is as deep as the parser let the document be.
bool AllFinite(const json::value& value) {
  if (const double* number = value.if_double()) return std::isfinite(*number);
  if (const json::array* array = value.if_array()) return std::all_of(array->begin(), array->end(), AllFinite);
  if (const json::object* object = value.if_object()) {
    return std::all_of(object->begin(), object->end(), [](const auto& member) { return AllFinite(member.value()); });
  }
  return true;
}

}  // namespace

Result<json::value> ParseJson(std::string_view text, size_t max_bytes, size_t max_depth) {
  if (text.size() > max_bytes) {
    return ResourceExhausted(fmt::format("JSON text of {} bytes is over the cap of {}", text.size(), max_bytes));
  }
  json::parse_options options;
  options.max_depth = max_depth;
  json::parser parser({}, options);
  boost::system::error_code error;
  size_t done = parser.write(text.data(), text.size(), error);
  if (error) return InvalidArgument(fmt::format("malformed JSON at byte {}: {}", done, error.message()));
  json::value value = parser.release();
  if (!AllFinite(value)) return InvalidArgument("malformed JSON: a number is out of range");
  return value;
}

std::string WriteJson(const json::value& value) { return json::serialize(value); }

std::string QuoteJson(std::string_view text) { return json::serialize(json::string_view(text.data(), text.size())); }

JsonNode::JsonNode(const json::value& value, std::string path)
    : value_(value.is_null() ? nullptr : &value), path_(std::move(path)) {}

JsonNode JsonNode::Key(std::string_view key) const {
  std::string path = ChildPath(path_, key);
  if (value_ == nullptr) return {nullptr, std::move(path), error_};
  const json::object* object = value_->if_object();
  if (object == nullptr) return {nullptr, std::move(path), TypeError("an object")};
  const json::value* member = object->if_contains(json::string_view(key.data(), key.size()));
  if (member != nullptr && member->is_null()) member = nullptr;
  return {member, std::move(path), Status()};
}

Status JsonNode::Error(std::string_view problem) const {
  return InvalidArgument(path_.empty() ? std::string(problem) : fmt::format("{}: {}", path_, problem));
}

Status JsonNode::TypeError(std::string_view expected) const {
  return Error(fmt::format("expected {}, found {}", expected, KindName(*value_)));
}

Status JsonNode::Absent(std::string_view expected) const {
  if (!error_.ok()) return error_;
  return Error(fmt::format("missing; expected {}", expected));
}

Result<std::string> JsonNode::String() const {
  if (value_ == nullptr) return Absent("a string");
  const json::string* text = value_->if_string();
  if (text == nullptr) return TypeError("a string");
  return Copy(*text);
}

Result<int64_t> JsonNode::Int64() const {
  if (value_ == nullptr) return Absent("an integer");
  if (const int64_t* number = value_->if_int64()) return *number;
  if (value_->is_uint64()) return Error("number too large");
  return TypeError("an integer");
}

Result<uint64_t> JsonNode::Uint64() const {
  if (value_ == nullptr) return Absent("an integer");
  if (const uint64_t* number = value_->if_uint64()) return *number;
  if (const int64_t* number = value_->if_int64()) {
    if (*number < 0) return Error("expected a number that is not negative");
    return static_cast<uint64_t>(*number);
  }
  return TypeError("an integer");
}

Result<bool> JsonNode::Bool() const {
  if (value_ == nullptr) return Absent("a boolean");
  const bool* flag = value_->if_bool();
  if (flag == nullptr) return TypeError("a boolean");
  return *flag;
}

Result<std::string> JsonNode::StringOr(std::string_view fallback) const {
  if (value_ == nullptr && error_.ok()) return std::string(fallback);
  return String();
}

Result<int64_t> JsonNode::Int64Or(int64_t fallback) const {
  if (value_ == nullptr && error_.ok()) return fallback;
  return Int64();
}

Result<uint64_t> JsonNode::Uint64Or(uint64_t fallback) const {
  if (value_ == nullptr && error_.ok()) return fallback;
  return Uint64();
}

Result<bool> JsonNode::BoolOr(bool fallback) const {
  if (value_ == nullptr && error_.ok()) return fallback;
  return Bool();
}

Result<std::vector<JsonNode>> JsonNode::Elements(size_t max) const {
  RETURN_IF_ERROR(error_);
  std::vector<JsonNode> nodes;
  if (value_ == nullptr) return nodes;
  const json::array* array = value_->if_array();
  if (array == nullptr) return TypeError("an array");
  if (array->size() > max) {
    return ResourceExhausted(fmt::format("{}: {} elements, over the cap of {}", path_, array->size(), max));
  }
  nodes.reserve(array->size());
  for (size_t i = 0; i < array->size(); ++i) {
    nodes.push_back(JsonNode((*array)[i], fmt::format("{}[{}]", path_, i)));
  }
  return nodes;
}

Result<std::vector<std::string>> JsonNode::Strings(size_t max) const {
  ASSIGN_OR_RETURN(std::vector<JsonNode> nodes, Elements(max));
  std::vector<std::string> texts;
  texts.reserve(nodes.size());
  for (const JsonNode& node : nodes) {
    ASSIGN_OR_RETURN(std::string text, node.String());
    texts.push_back(std::move(text));
  }
  return texts;
}

Result<const json::object*> JsonNode::Object(size_t max) const {
  RETURN_IF_ERROR(error_);
  if (value_ == nullptr) return nullptr;
  const json::object* object = value_->if_object();
  if (object == nullptr) return TypeError("an object");
  if (object->size() > max) {
    return ResourceExhausted(fmt::format("{}: {} members, over the cap of {}", path_, object->size(), max));
  }
  return object;
}

Result<std::vector<std::pair<std::string, JsonNode>>> JsonNode::Members(size_t max) const {
  ASSIGN_OR_RETURN(const json::object* object, Object(max));
  std::vector<std::pair<std::string, JsonNode>> members;
  if (object == nullptr) return members;
  members.reserve(object->size());
  for (const auto& member : *object) {
    std::string key(member.key().data(), member.key().size());
    JsonNode node(member.value(), ChildPath(path_, key));
    members.emplace_back(std::move(key), std::move(node));
  }
  return members;
}

Result<std::map<std::string, std::string>> JsonNode::StringMap(size_t max) const {
  ASSIGN_OR_RETURN(auto members, Members(max));
  std::map<std::string, std::string> map;
  for (const auto& [key, node] : members) {
    ASSIGN_OR_RETURN(std::string text, node.StringOr(""));
    map.emplace(key, std::move(text));
  }
  return map;
}

Result<std::vector<std::string>> JsonNode::Keys(size_t max) const {
  ASSIGN_OR_RETURN(const json::object* object, Object(max));
  std::vector<std::string> keys;
  if (object == nullptr) return keys;
  keys.reserve(object->size());
  for (const auto& member : *object) keys.emplace_back(member.key().data(), member.key().size());
  return keys;
}

}  // namespace davit::oci
