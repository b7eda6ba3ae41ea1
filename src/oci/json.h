// JSON from outside, with caps, and typed getters whose errors name the key path.
//
//   ASSIGN_OR_RETURN(boost::json::value document, ParseJson(text));
//   JsonNode root(document, "manifest");
//   ASSIGN_OR_RETURN(std::string type, root.Key("mediaType").StringOr(""));
//   ASSIGN_OR_RETURN(int64_t size, root.Key("config").Key("size").Int64());
//   -> INVALID_ARGUMENT: manifest.config.size: expected an integer, found a string
//
// The one JSON reader of the project (network, image and store use it too). Boost.JSON 1.81; link with
// davit_oci. Include this header from .cc files, not from the public headers of other folders.
//
// Null counts as absent everywhere, since Docker writes "Cmd": null. Of a key that occurs twice the
// last one counts. Invalid UTF-8 is an error.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace davit::oci {

inline constexpr size_t kMaxJsonBytes = 4u << 20;  // the cap that registries put on manifests
inline constexpr size_t kMaxJsonDepth = 64;
inline constexpr size_t kMaxJsonEntries = 16384;  // elements of one array, members of one object

// One whole JSON text. kResourceExhausted when it is longer than max_bytes; kInvalidArgument when it
// is malformed, deeper than max_depth, followed by anything but blanks, or has a number that no double holds.
Result<boost::json::value> ParseJson(std::string_view text, size_t max_bytes = kMaxJsonBytes,
                                     size_t max_depth = kMaxJsonDepth);

// Compact text. (boost::json::serialize behind one include.)
std::string WriteJson(const boost::json::value& value);
// `text` as a JSON string literal, with its quotes.
std::string QuoteJson(std::string_view text);

// One place in a document: a value (or its absence) and its key path. The node points into the
// document, which must outlive it. Getters on a place below something of the wrong type report that
// type error, so that a chain of Key() needs one check at its end. All errors are kInvalidArgument,
// except caps: kResourceExhausted.
class JsonNode {
 public:
  // `path` is what errors call the document: "manifest", "plugin result"; empty: members are named from the top.
  JsonNode(const boost::json::value& value, std::string path);

  // Member of an object. Absent when there is no such member or it is null; an error (reported by the
  // getters) when this node is present and not an object.
  [[nodiscard]] JsonNode Key(std::string_view key) const;

  // True for a value that is there and not null. False also below a value of the wrong type.
  [[nodiscard]] bool present() const { return value_ != nullptr; }
  [[nodiscard]] const std::string& path() const { return path_; }
  // OK unless this place lies below a value of the wrong type.
  [[nodiscard]] const Status& status() const { return error_; }
  // nullptr when absent.
  [[nodiscard]] const boost::json::value* value() const { return value_; }
  [[nodiscard]] bool is_object() const { return value_ != nullptr && value_->is_object(); }
  [[nodiscard]] bool is_array() const { return value_ != nullptr && value_->is_array(); }
  [[nodiscard]] bool is_string() const { return value_ != nullptr && value_->is_string(); }

  // Required: absence is an error.
  [[nodiscard]] Result<std::string> String() const;
  [[nodiscard]] Result<int64_t> Int64() const;  // integers only; 1.0 is an error
  [[nodiscard]] Result<uint64_t> Uint64() const;
  [[nodiscard]] Result<bool> Bool() const;

  // Optional: the fallback when absent, an error when of the wrong type.
  [[nodiscard]] Result<std::string> StringOr(std::string_view fallback) const;
  [[nodiscard]] Result<int64_t> Int64Or(int64_t fallback) const;
  [[nodiscard]] Result<uint64_t> Uint64Or(uint64_t fallback) const;
  [[nodiscard]] Result<bool> BoolOr(bool fallback) const;

  // Arrays and objects; empty when absent.
  [[nodiscard]] Result<std::vector<std::string>> Strings(size_t max = kMaxJsonEntries) const;
  [[nodiscard]] Result<std::map<std::string, std::string>> StringMap(size_t max = kMaxJsonEntries) const;
  [[nodiscard]] Result<std::vector<JsonNode>> Elements(size_t max = kMaxJsonEntries) const;
  [[nodiscard]] Result<std::vector<std::pair<std::string, JsonNode>>> Members(size_t max = kMaxJsonEntries) const;
  // Only the names: for sets written as {"80/tcp": {}}.
  [[nodiscard]] Result<std::vector<std::string>> Keys(size_t max = kMaxJsonEntries) const;

  // kInvalidArgument "path: problem", for the caller's own checks.
  [[nodiscard]] Status Error(std::string_view problem) const;

 private:
  JsonNode(const boost::json::value* value, std::string path, Status error)
      : value_(value), path_(std::move(path)), error_(std::move(error)) {}
  // The object here, nullptr when absent, or the error.
  [[nodiscard]] Result<const boost::json::object*> Object(size_t max) const;
  [[nodiscard]] Status TypeError(std::string_view expected) const;
  [[nodiscard]] Status Absent(std::string_view expected) const;

  const boost::json::value* value_ = nullptr;  // owned by the document
  std::string path_;
  Status error_;
};

}  // namespace davit::oci
