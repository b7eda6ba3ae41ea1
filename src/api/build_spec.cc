#include "api/build_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/json_reader.h"
#include "base/strings.h"

namespace davit::api {
namespace {

// A path that stays in the context.
bool StaysInside(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  for (const std::string& part : Split(path, '/')) {
    if (part == "..") return false;
  }
  return true;
}

// {"k": "v"} of Docker, ["k=v"] of Podman.
Result<std::map<std::string, std::string>> Pairs(const Request& request, const char* key) {
  std::map<std::string, std::string> out;
  std::string text = request.Query(key);
  if (text.empty()) return out;
  ASSIGN_OR_RETURN_WITH(JsonDocument document, JsonDocument::Parse(text), key);
  if (document.root().is_array()) {
    for (const std::string& pair : document.root().Strings()) {
      size_t equals = std::min(pair.find('='), pair.size());
      out[pair.substr(0, equals)] = equals < pair.size() ? pair.substr(equals + 1) : "";
    }
  } else {
    for (const auto& [name, value] : document.root().Members()) {
      if (value.present()) out[name] = value.Str();
    }
  }
  RETURN_IF_ERROR(document.status().Annotate(key));
  return out;
}

std::string Expand(std::string_view text, const std::map<std::string, std::string>& values) {
  std::string out;
  while (!text.empty()) {
    if (text[0] != '$') {
      out += text[0];
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(1);
    bool braces = text.starts_with('{');
    if (braces) text.remove_prefix(1);
    size_t end = std::min(text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"),
                          text.size());
    std::string name(text.substr(0, end));
    text.remove_prefix(end);
    std::string fallback;
    if (braces) {
      size_t close = std::min(text.find('}'), text.size());
      std::string_view inside = text.substr(0, close);
      if (inside.starts_with(":-")) fallback = inside.substr(2);
      text.remove_prefix(std::min(close + 1, text.size()));
    }
    auto value = values.find(name);
    out += value != values.end() && !value->second.empty() ? value->second : fallback;
  }
  return out;
}

std::vector<std::string> Words(std::string_view line) {
  std::vector<std::string> out;
  std::string current;
  for (char c : line) {
    if (c == ' ' || c == '\t' || c == '\r') {
      if (!current.empty()) out.push_back(std::move(current));
      current.clear();
    } else {
      current += c;
    }
  }
  if (!current.empty()) out.push_back(std::move(current));
  return out;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

Result<BuildSpec> ReadBuild(const Request& request) {
  BuildSpec spec;
  if (!request.Query("remote").empty())
    return Unimplemented("remote: a context that the server fetches is not supported");
  for (const std::string& tag : request.QueryAll("t")) {
    if (!tag.empty()) spec.tags.push_back(tag);
  }
  std::string file = request.Query("dockerfile");
  if (file.starts_with("[")) {
    ASSIGN_OR_RETURN_WITH(JsonDocument document, JsonDocument::Parse(file), "dockerfile");
    spec.dockerfiles = document.root().Strings();
  } else if (!file.empty()) {
    spec.dockerfiles = {file};
  }
  if (spec.dockerfiles.empty()) spec.dockerfiles = {"Dockerfile"};
  for (const std::string& path : spec.dockerfiles) {
    if (!StaysInside(path))
      return InvalidArgument(fmt::format("dockerfile \"{}\" is outside of the context", Printable(path)));
  }
  ASSIGN_OR_RETURN(spec.arguments, Pairs(request, "buildargs"));
  ASSIGN_OR_RETURN(spec.labels, Pairs(request, "labels"));
  ASSIGN_OR_RETURN(spec.no_cache, request.QueryBool("nocache", false));
  ASSIGN_OR_RETURN(spec.quiet, request.QueryBool("q", false));
  ASSIGN_OR_RETURN(spec.squash, request.QueryBool("squash", false));
  std::string pull = request.Query("pull");
  std::string policy = request.Query("pullpolicy");
  spec.pull = pull == "1" || pull == "true" || policy == "always" || policy == "1";
  spec.target = request.Query("target");
  spec.platform = request.Query("platform") == "/" ? "" : request.Query("platform");
  spec.no_network = request.Query("networkmode") == "none";
  std::string hosts = request.Query("extrahosts");
  if (hosts.starts_with("[")) {
    ASSIGN_OR_RETURN_WITH(JsonDocument document, JsonDocument::Parse(hosts), "extrahosts");
    spec.extra_hosts = document.root().Strings();
  } else if (!hosts.empty()) {
    spec.extra_hosts = Split(hosts, ',');
  }
  if (std::string secrets = request.Query("secrets"); !secrets.empty()) {
    ASSIGN_OR_RETURN_WITH(JsonDocument document, JsonDocument::Parse(secrets), "secrets");
    for (const std::string& text : document.root().Strings()) {
      BuildSecret secret;
      for (const std::string& part : Split(text, ',')) {
        if (part.starts_with("id=")) secret.id = part.substr(3);
        if (part.starts_with("src=")) secret.file = part.substr(4);
      }
      if (!IsPathComponent(secret.id) || !StaysInside(secret.file)) {
        return InvalidArgument(fmt::format("secret \"{}\" is not id=NAME,src=FILE", Printable(text)));
      }
      spec.secrets.push_back(std::move(secret));
    }
  }
  return spec;
}

std::vector<std::string> ImagesOf(std::string_view dockerfile, const std::map<std::string, std::string>& arguments) {
  std::map<std::string, std::string> values;
  std::set<std::string> stages;
  std::vector<std::string> out;
  auto add = [&](const std::string& name) {
    bool stage = stages.count(Lower(name)) > 0 || ParseUint64(name).has_value();
    if (!name.empty() && name != "scratch" && !stage && std::find(out.begin(), out.end(), name) == out.end()) {
      out.push_back(name);
    }
  };
  bool in_stage = false;
  std::string joined;
  for (const std::string& raw : Split(dockerfile, '\n')) {
    std::string_view line = Trim(raw);
    if (line.empty() || line.starts_with('#')) continue;
    if (line.ends_with('\\')) {
      joined += std::string(line.substr(0, line.size() - 1)) + " ";
      continue;
    }
    joined += line;
    std::vector<std::string> words = Words(joined);
    joined.clear();
    if (words.size() < 2) continue;
    std::string verb = Lower(words[0]);
    if (verb == "arg" && !in_stage) {
      size_t equals = std::min(words[1].find('='), words[1].size());
      std::string name = words[1].substr(0, equals);
      std::string value = equals < words[1].size() ? words[1].substr(equals + 1) : "";
      if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
      auto given = arguments.find(name);
      values[name] = given != arguments.end() ? given->second : Expand(value, values);
    } else if (verb == "from") {
      in_stage = true;
      size_t at = 1;
      while (at < words.size() && words[at].starts_with("--")) ++at;
      if (at < words.size()) add(Expand(words[at], values));
      if (at + 2 < words.size() && Lower(words[at + 1]) == "as") stages.insert(Lower(words[at + 2]));
    } else if (verb == "copy" || verb == "run") {
      for (const std::string& word : words) {
        if (verb == "copy" && word.starts_with("--from=")) add(Expand(word.substr(7), values));
        size_t from = word.starts_with("--mount=") ? word.find("from=") : std::string::npos;
        if (from != std::string::npos) add(Expand(word.substr(from + 5, word.find(',', from) - from - 5), values));
      }
    }
  }
  return out;
}

std::string TarFilter(std::string_view bytes) {
  if (bytes.starts_with("\x1f\x8b")) return "--gzip";
  if (bytes.starts_with("BZh")) return "--bzip2";
  if (bytes.starts_with(std::string_view("\xfd"
                                         "7zXZ\0",
                                         6)))
    return "--xz";
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return "--zstd";
  return "";
}

}  // namespace davit::api
