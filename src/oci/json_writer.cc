#include "oci/json_writer.h"

#include <fmt/format.h>

namespace davit::oci {

void JsonWriter::Separate() {
  if (comma_) out_ += ',';
  comma_ = true;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Separate();
  out_ += bracket;
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  out_ += bracket;
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Separate();
  Quote(key);
  out_ += ':';
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  Separate();
  Quote(text);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool flag) { return Raw(flag ? "true" : "false"); }

JsonWriter& JsonWriter::Int(int64_t number) { return Raw(fmt::format_int(number).c_str()); }

JsonWriter& JsonWriter::Uint(uint64_t number) { return Raw(fmt::format_int(number).c_str()); }

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Separate();
  out_ += json;
  return *this;
}

JsonWriter& JsonWriter::NonEmpty(std::string_view key, const std::map<std::string, std::string>& map) {
  if (map.empty()) return *this;
  Key(key).BeginObject();
  for (const auto& [name, value] : map) Field(name, value);
  return EndObject();
}

JsonWriter& JsonWriter::Strings(std::string_view key, const std::vector<std::string>& texts) {
  Key(key).BeginArray();
  for (const std::string& text : texts) String(text);
  return EndArray();
}

void JsonWriter::Quote(std::string_view text) {
  out_ += '"';
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += c;
    } else if (byte >= 0x20 && byte != 0x7f) {
      out_ += c;
    } else {
      out_ += fmt::format("\\u{:04x}", static_cast<unsigned>(byte));
    }
  }
  out_ += '"';
}

}  // namespace davit::oci
