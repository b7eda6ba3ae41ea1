// JsonReader: a request's body as Go's clients write it. Names of fields match whatever their case, null is absent,
// unknown fields do not matter, and an empty body is an empty object.
//
//   ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(body));
//   JsonReader root = document.root();
//   std::string image = root["Image"].Str();
//   …
//   RETURN_IF_ERROR(document.status());   // the first value of a wrong type, by its path
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace davit::api {

class JsonReader {
 public:
  // The field of that name; absent below anything that is no object.
  JsonReader operator[](std::string_view key) const;

  [[nodiscard]] bool present() const { return value_ != nullptr; }
  [[nodiscard]] bool is_string() const { return value_ != nullptr && value_->is_string(); }
  [[nodiscard]] bool is_array() const { return value_ != nullptr && value_->is_array(); }
  [[nodiscard]] bool is_object() const { return value_ != nullptr && value_->is_object(); }
  [[nodiscard]] const boost::json::value* value() const { return value_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  // The fallback when absent, or of another type (which document.status() tells).
  [[nodiscard]] std::string Str(std::string_view fallback = "") const;
  [[nodiscard]] int64_t Int(int64_t fallback = 0) const;  // also a number in a string
  [[nodiscard]] bool Bool(bool fallback = false) const;
  [[nodiscard]] std::vector<std::string> Strings() const;  // a single string is a list of one
  [[nodiscard]] std::map<std::string, std::string> StringMap() const;
  [[nodiscard]] std::vector<JsonReader> Elements() const;
  [[nodiscard]] std::vector<std::pair<std::string, JsonReader>> Members() const;

  // Records an error of this place.
  void Fail(std::string_view problem) const;

 private:
  friend class JsonDocument;
  JsonReader(const boost::json::value* value, std::string path, Status* status)
      : value_(value), path_(std::move(path)), status_(status) {}

  const boost::json::value* value_;  // owned by the document, as what follows
  std::string path_;
  Status* status_;
};

class JsonDocument {
 public:
  static Result<JsonDocument> Parse(std::string_view text);
  [[nodiscard]] JsonReader root() const { return JsonReader(&state_->value, "", &state_->status); }
  [[nodiscard]] const Status& status() const { return state_->status; }

 private:
  struct State {
    boost::json::value value;
    Status status;
  };
  explicit JsonDocument(std::unique_ptr<State> state) : state_(std::move(state)) {}
  std::unique_ptr<State> state_;  // readers point into it
};

}  // namespace davit::api
