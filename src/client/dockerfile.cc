#include "client/dockerfile.h"

#include <algorithm>
#include <set>

#include "base/strings.h"

namespace davit::client {
namespace {

using Values = std::map<std::string, std::string>;

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Instructions without comments, their lines joined (a backslash, or a backtick with the escape directive, at the end).
std::vector<std::string> Instructions(std::string_view text) {
  std::vector<std::string> out;
  std::string instruction;
  char escape = '\\';
  bool directives = true;
  for (const std::string& raw : Split(text, '\n')) {
    std::string_view line = Trim(raw);
    if (directives && Lower(line).starts_with("# escape=`")) escape = '`';
    directives = directives && line.starts_with("#");
    if (line.empty() || line.starts_with("#")) continue;
    const bool goes_on = line.ends_with(escape);
    if (goes_on) line.remove_suffix(1);
    instruction += line;
    instruction += ' ';
    if (goes_on) continue;
    out.push_back(std::move(instruction));
    instruction.clear();
  }
  if (!instruction.empty()) out.push_back(std::move(instruction));
  return out;
}

std::vector<std::string> WordsOf(const std::string& instruction) {
  std::vector<std::string> out;
  for (std::string& word : Split(instruction, ' ')) {
    for (std::string& part : Split(word, '\t')) {
      if (!part.empty()) out.push_back(std::move(part));
    }
  }
  return out;
}

// $NAME, ${NAME} and ${NAME:-default}.
std::string Expand(const std::string& text, const Values& values) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '$' || at + 1 == text.size()) {
      out += text[at];
      continue;
    }
    const bool braced = text[at + 1] == '{';
    const size_t begin = at + (braced ? 2 : 1);
    size_t end = begin;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) ++end;
    auto found = values.find(text.substr(begin, end - begin));
    std::string value = found == values.end() ? "" : found->second;
    if (braced) {
      const size_t close = std::min(text.find('}', end), text.size());
      if (value.empty() && text.compare(end, 2, ":-") == 0) value = text.substr(end + 2, close - end - 2);
      end = std::min(close + 1, text.size());
    }
    out += value;
    at = end - 1;
  }
  return out;
}

std::string Unquoted(const std::string& text) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

std::vector<std::string> ImagesOfDockerfile(std::string_view text, const Values& arguments) {
  Values values;
  std::set<std::string> stages;
  std::vector<std::string> out;
  bool in_stage = false;
  auto add = [&](const std::string& word) {
    std::string name = Expand(Unquoted(word), values);
    const bool stage = stages.contains(Lower(name)) || ParseUint64(name).has_value();  // by name, or by number
    if (name.empty() || name == "scratch" || stage) return;
    if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(std::move(name));
  };
  for (const std::string& instruction : Instructions(text)) {
    const std::vector<std::string> words = WordsOf(instruction);
    const std::string verb = Lower(words.empty() ? "" : words[0]);
    if (verb == "arg" && !in_stage) {
      for (size_t i = 1; i < words.size(); ++i) {
        const size_t equals = std::min(words[i].find('='), words[i].size());
        const std::string name = words[i].substr(0, equals);
        auto given = arguments.find(name);
        std::string own = equals < words[i].size() ? Expand(Unquoted(words[i].substr(equals + 1)), values) : "";
        values[name] = given == arguments.end() ? own : given->second;
      }
    } else if (verb == "from") {
      in_stage = true;
      size_t at = 1;
      while (at < words.size() && words[at].starts_with("--")) ++at;
      if (at < words.size()) add(words[at]);
      if (at + 2 < words.size() && Lower(words[at + 1]) == "as") stages.insert(Lower(words[at + 2]));
    } else if (verb == "copy" || verb == "run" || verb == "add") {
      for (size_t i = 1; i < words.size() && words[i].starts_with("--"); ++i) {
        if (verb == "copy" && words[i].starts_with("--from=")) add(words[i].substr(7));
        if (!words[i].starts_with("--mount=")) continue;
        for (const std::string& part : Split(std::string_view(words[i]).substr(8), ',')) {
          if (part.starts_with("from=")) add(part.substr(5));
        }
      }
    }
  }
  return out;
}

}  // namespace davit::client
