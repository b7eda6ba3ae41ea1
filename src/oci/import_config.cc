#include "oci/import_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>

#include "base/strings.h"
#include "oci/config_changes.h"
#include "oci/json.h"

namespace davit::oci {
namespace {

constexpr size_t kMaxChanges = 200;
constexpr size_t kMaxPorts = 1000;

Status Malformed(std::string_view change, std::string_view why) {
  return InvalidArgument(fmt::format("change \"{}\": {}", Printable(change, 200), why));
}

// Words between blanks; quotes keep blanks, a backslash the next character (not within single quotes).
Result<std::vector<std::string>> Words(std::string_view change, std::string_view text) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == 0 && (c == ' ' || c == '\t')) {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    if (quote != 0 ? c == quote : (c == '"' || c == '\'')) {
      quote = quote == 0 ? c : 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      words.back() += text[++i];
    } else {
      words.back() += c;
    }
  }
  if (quote != 0) return Malformed(change, "a quote is not closed");
  return words;
}

// `["a", "b"]`; nullopt: no such list.
std::optional<std::vector<std::string>> JsonList(std::string_view text) {
  if (!text.starts_with('[')) return std::nullopt;
  Result<boost::json::value> document = ParseJson(text);
  if (!document.ok() || !document->is_array()) return std::nullopt;
  std::vector<std::string> list;
  for (const boost::json::value& item : document->as_array()) {
    if (!item.is_string()) return std::nullopt;
    list.emplace_back(item.as_string());
  }
  return list;
}

boost::json::array ToArray(const std::vector<std::string>& list) {
  return boost::json::array(list.begin(), list.end());
}

class Config {
 public:
  explicit Config(boost::json::object start) : config_(std::move(start)) {}

  Status Apply(const std::string& change) {
    const std::string text(Trim(change));
    const size_t blank = text.find_first_of(" \t");
    std::string name = text.substr(0, blank);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
    const std::string rest(blank == std::string::npos ? std::string_view()
                                                      : Trim(std::string_view(text).substr(blank)));
    if (text.find('\0') != std::string::npos) return Malformed(change, "it has a zero byte");
    if (text.size() > kMaxConfigStringBytes) return ResourceExhausted("change " + name + ": it is too long");
    if (rest.empty()) return Malformed(change, "an instruction needs a value, as in WORKDIR /srv");
    if (name == "CMD") return Command("Cmd", rest);
    if (name == "ENTRYPOINT") return Command("Entrypoint", rest);
    if (name == "ENV") return Environment(change, rest);
    if (name == "LABEL") return Label(change, rest);
    if (name == "EXPOSE") return Expose(change, rest);
    if (name == "VOLUME") return Volume(change, rest);
    if (name == "WORKDIR") return Directory(rest);
    if (name == "USER") return Word("User", change, rest);
    if (name == "STOPSIGNAL") return Word("StopSignal", change, rest);
    if (name == "ONBUILD") {
      Array("OnBuild").emplace_back(rest);
      return {};
    }
    return Malformed(change,
                     "there are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR");
  }

  boost::json::object Take() { return std::move(config_); }

 private:
  boost::json::array& Array(const char* key) {
    boost::json::value& value = config_[key];
    if (!value.is_array()) value = boost::json::array();
    return value.as_array();
  }
  boost::json::object& Object(const char* key) {
    boost::json::value& value = config_[key];
    if (!value.is_object()) value = boost::json::object();
    return value.as_object();
  }

  Status Command(const char* key, const std::string& rest) {
    // What is no list is for the shell, a list with a slip too.
    const std::vector<std::string> shell = {"/bin/sh", "-c", rest};
    config_[key] = ToArray(JsonList(rest).value_or(shell));
    return {};
  }

  // Pairs "KEY=VALUE", or of an older form "KEY VALUE".
  static Result<std::vector<std::pair<std::string, std::string>>> Pairs(const std::string& change,
                                                                        const std::string& rest) {
    std::vector<std::pair<std::string, std::string>> pairs;
    const size_t blank = rest.find_first_of(" \t");
    if (rest.substr(0, blank).find('=') == std::string::npos) {
      if (blank == std::string::npos) return Malformed(change, "no KEY=VALUE");
      pairs.emplace_back(rest.substr(0, blank), Trim(std::string_view(rest).substr(blank)));
      return pairs;
    }
    ASSIGN_OR_RETURN(std::vector<std::string> words, Words(change, rest));
    for (const std::string& word : words) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos || equals == 0) return Malformed(change, "no KEY=VALUE");
      pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
    return pairs;
  }

  Status Environment(const std::string& change, const std::string& rest) {
    ASSIGN_OR_RETURN(auto pairs, Pairs(change, rest));
    boost::json::array& list = Array("Env");
    for (const auto& [key, value] : pairs) {
      const std::string start = key + "=";
      auto* same = std::find_if(list.begin(), list.end(), [&](const boost::json::value& item) {
        return std::string_view(item.as_string()).starts_with(start);
      });
      if (same != list.end()) list.erase(same);
      list.emplace_back(start + value);
    }
    return {};
  }

  Status Label(const std::string& change, const std::string& rest) {
    ASSIGN_OR_RETURN(auto pairs, Pairs(change, rest));
    for (const auto& [key, value] : pairs) Object("Labels")[key] = value;
    return {};
  }

  Status Expose(const std::string& change, const std::string& rest) {
    ASSIGN_OR_RETURN(std::vector<std::string> words, Words(change, rest));
    for (const std::string& word : words) {
      const size_t slash = word.find('/');
      const std::string protocol = slash == std::string::npos ? "tcp" : word.substr(slash + 1);
      const std::string ports = word.substr(0, slash);
      const size_t dash = ports.find('-');
      const std::optional<int64_t> first = ParseInt64(ports.substr(0, dash));
      const std::optional<int64_t> last = dash == std::string::npos ? first : ParseInt64(ports.substr(dash + 1));
      const bool known = protocol == "tcp" || protocol == "udp" || protocol == "sctp";
      if (!first || !last || *first < 1 || *last > 65535 || *first > *last || !known) {
        return Malformed(change, fmt::format("\"{}\" is no port, as in 80, 53/udp or 8000-8010/tcp", Printable(word)));
      }
      for (int64_t port = *first; port <= *last; ++port) {
        if (Object("ExposedPorts").size() == kMaxPorts) return ResourceExhausted("more than 1000 ports are exposed");
        Object("ExposedPorts")[fmt::format("{}/{}", port, protocol)] = boost::json::object();
      }
    }
    return {};
  }

  Status Volume(const std::string& change, const std::string& rest) {
    std::vector<std::string> paths;
    if (std::optional<std::vector<std::string>> list = JsonList(rest)) {
      paths = std::move(*list);
    } else {
      ASSIGN_OR_RETURN(paths, Words(change, rest));
    }
    for (const std::string& path : paths) {
      if (!path.starts_with('/')) return Malformed(change, "a volume is no absolute path");
      Object("Volumes")[path] = boost::json::object();
    }
    return {};
  }

  // A relative one is below the one before.
  Status Directory(const std::string& rest) {
    std::string path = rest;
    if (!path.starts_with('/')) {
      const boost::json::value* before = config_.if_contains("WorkingDir");
      path = (before != nullptr ? std::string(before->as_string()) + "/" : "/") + path;
    }
    config_["WorkingDir"] = path;
    return {};
  }

  Status Word(const char* key, const std::string& change, const std::string& rest) {
    if (rest.find_first_of(" \t\n") != std::string::npos) return Malformed(change, "it takes one word");
    config_[key] = rest;
    return {};
  }

  boost::json::object config_;
};

}  // namespace

Status ApplyChanges(const std::vector<std::string>& changes, boost::json::object& config) {
  if (changes.size() > kMaxChanges) {
    return ResourceExhausted(fmt::format("{} changes are more than {}", changes.size(), kMaxChanges));
  }
  Config applied(std::move(config));
  for (const std::string& change : changes) RETURN_IF_ERROR(applied.Apply(change));
  config = applied.Take();
  return {};
}

Result<std::string> MakeImportConfig(const ImportSettings& settings) {
  boost::json::object config;
  RETURN_IF_ERROR(ApplyChanges(settings.changes, config));
  boost::json::object document;
  document["architecture"] = settings.platform.architecture;
  document["os"] = settings.platform.os;
  if (!settings.platform.variant.empty()) document["variant"] = settings.platform.variant;
  document["created"] = settings.created;
  document["config"] = std::move(config);
  document["rootfs"] = boost::json::object{{"type", "layers"}, {"diff_ids", boost::json::array()}};
  document["history"] =
      boost::json::array{boost::json::object{{"created", settings.created}, {"comment", settings.comment}}};
  std::string text = boost::json::serialize(document);
  RETURN_IF_ERROR(ParseImageConfig(text).status());  // what no pull would take is not made
  return text;
}

Result<std::string> WithLayer(std::string_view config, const Digest& diff_id) {
  ASSIGN_OR_RETURN(boost::json::value document, ParseJson(config));
  boost::json::object* root = document.if_object();
  boost::json::value* rootfs = root == nullptr ? nullptr : root->if_contains("rootfs");
  if (rootfs == nullptr || !rootfs->is_object()) return InvalidArgument("the config to import with is malformed");
  rootfs->as_object()["diff_ids"] = boost::json::array{boost::json::string(diff_id.ToString())};
  return boost::json::serialize(document);
}

}  // namespace davit::oci
