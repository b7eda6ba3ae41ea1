// JsonWriter: compact JSON straight into a string, for documents on the hot path that are written and
// never read back here. Commas are its own business; nesting is the caller's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace davit::oci {

class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key);

  JsonWriter& String(std::string_view text);  // quotes, backslashes and control bytes are escaped
  JsonWriter& Bool(bool flag);
  JsonWriter& Int(int64_t number);
  JsonWriter& Uint(uint64_t number);
  JsonWriter& Raw(std::string_view json);  // a value that is JSON already

  // Key and value in one.
  JsonWriter& Field(std::string_view key, std::string_view text) { return Key(key).String(text); }
  JsonWriter& Field(std::string_view key, const char* text) { return Key(key).String(text); }
  JsonWriter& Field(std::string_view key, const std::string& text) { return Key(key).String(text); }
  template <class T>
  requires std::is_integral_v<T> JsonWriter& Field(std::string_view key, T value) {
    Key(key);
    if constexpr (std::is_same_v<T, bool>)
      return Bool(value);
    else if constexpr (std::is_signed_v<T>)
      return Int(value);
    else
      return Uint(value);
  }
  // Left out when there is no value, or an empty one.
  template <class T>
  JsonWriter& Optional(std::string_view key, const std::optional<T>& value) {
    return value ? Field(key, *value) : *this;
  }
  JsonWriter& NonEmpty(std::string_view key, const std::string& text) {
    return text.empty() ? *this : Field(key, text);
  }
  JsonWriter& NonEmpty(std::string_view key, const std::vector<std::string>& texts) {
    return texts.empty() ? *this : Strings(key, texts);
  }
  JsonWriter& NonEmpty(std::string_view key, const std::map<std::string, std::string>& map);
  JsonWriter& Strings(std::string_view key, const std::vector<std::string>& texts);

  [[nodiscard]] std::string Take() && { return std::move(out_); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Separate();
  void Quote(std::string_view text);

  std::string out_;
  bool comma_ = false;  // the next value or key needs one before it
};

}  // namespace davit::oci
