#include "api/json_reader.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/strings.h"
#include "http/request_head.h"
#include "oci/json.h"

namespace davit::api {
namespace {

constexpr size_t kMaxBody = 8u << 20;

std::string Text(boost::json::string_view view) { return std::string(view.data(), view.size()); }

}  // namespace

Result<JsonDocument> JsonDocument::Parse(std::string_view text) {
  auto state = std::make_unique<State>();
  if (Trim(text).empty()) {
    state->value = boost::json::object();
    return JsonDocument(std::move(state));
  }
  Result<boost::json::value> value = oci::ParseJson(text, kMaxBody);
  if (!value.ok()) return value.status().Annotate("decode()");
  if (value->is_null()) *value = boost::json::object();  // docker's commit
  state->value = std::move(*value);
  return JsonDocument(std::move(state));
}

void JsonReader::Fail(std::string_view problem) const {
  if (!status_->ok()) return;
  *status_ = InvalidArgument(path_.empty() ? fmt::format("the body: {}", problem)
                                           : fmt::format("{}: {}", Printable(path_), problem));
}

JsonReader JsonReader::operator[](std::string_view key) const {
  std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  const boost::json::value* found = nullptr;
  if (value_ != nullptr && value_->is_object()) {
    const boost::json::object& object = value_->get_object();
    found = object.if_contains(boost::json::string_view(key.data(), key.size()));
    if (found == nullptr) {
      for (const auto& member : object) {
        if (http::EqualsIgnoreCase(std::string_view(member.key().data(), member.key().size()), key)) {
          found = &member.value();
        }
      }
    }
    if (found != nullptr && found->is_null()) found = nullptr;
  } else if (value_ != nullptr) {
    Fail("expected an object");
  }
  return JsonReader(found, std::move(path), status_);
}

std::string JsonReader::Str(std::string_view fallback) const {
  if (value_ == nullptr) return std::string(fallback);
  if (value_->is_string()) return Text(value_->get_string());
  Fail("expected a string");
  return std::string(fallback);
}

int64_t JsonReader::Int(int64_t fallback) const {
  if (value_ == nullptr) return fallback;
  if (value_->is_int64()) return value_->get_int64();
  if (value_->is_uint64()) return static_cast<int64_t>(std::min<uint64_t>(value_->get_uint64(), INT64_MAX));
  if (value_->is_double() && value_->get_double() > -9e18 && value_->get_double() < 9e18) {
    return static_cast<int64_t>(value_->get_double());
  }
  if (value_->is_string()) {
    std::string text = Text(value_->get_string());
    if (text.empty()) return fallback;
    if (auto number = ParseInt64(text)) return *number;
  }
  Fail("expected an integer");
  return fallback;
}

bool JsonReader::Bool(bool fallback) const {
  if (value_ == nullptr) return fallback;
  if (value_->is_bool()) return value_->get_bool();
  Fail("expected true or false");
  return fallback;
}

std::vector<std::string> JsonReader::Strings() const {
  std::vector<std::string> out;
  if (value_ == nullptr) return out;
  if (value_->is_string()) return {Text(value_->get_string())};
  for (const JsonReader& element : Elements()) out.push_back(element.Str());
  return out;
}

std::map<std::string, std::string> JsonReader::StringMap() const {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : Members()) out[key] = value.Str();
  return out;
}

std::vector<JsonReader> JsonReader::Elements() const {
  std::vector<JsonReader> out;
  if (value_ == nullptr) return out;
  if (!value_->is_array()) {
    Fail("expected an array");
    return out;
  }
  size_t index = 0;
  for (const boost::json::value& element : value_->get_array()) {
    out.push_back(JsonReader(element.is_null() ? nullptr : &element, fmt::format("{}[{}]", path_, index++), status_));
  }
  return out;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::Members() const {
  std::vector<std::pair<std::string, JsonReader>> out;
  if (value_ == nullptr) return out;
  if (!value_->is_object()) {
    Fail("expected an object");
    return out;
  }
  for (const auto& member : value_->get_object()) {
    std::string key(member.key().data(), member.key().size());
    std::string path = path_ + "." + key;
    out.emplace_back(std::move(key),
                     JsonReader(member.value().is_null() ? nullptr : &member.value(), std::move(path), status_));
  }
  return out;
}

}  // namespace davit::api
