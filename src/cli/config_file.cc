#include "cli/config_file.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/strings.h"
#include "http/base64.h"
#include "runtime/v1/cri.pb.h"
#include "sys/unique_fd.h"

namespace davit::cli {
namespace {

namespace json = boost::json;

Result<json::value> Parse(std::string_view text, const std::string& file) {
  json::stream_parser parser;  // nesting is capped at 32 levels by default
  json::error_code error;
  size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error && Trim(text.substr(used)).empty()) parser.finish(error);
  if (error || !Trim(text.substr(used)).empty()) {
    auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(used), '\n') + 1;
    return InvalidArgument(fmt::format("{} line {}: not valid JSON: {}", file, line,
                                       error ? error.message() : std::string("text after the end")));
  }
  json::value value = parser.release();
  if (!value.is_object()) return InvalidArgument(file + ": not a JSON object");
  return value;
}

// protobuf's JSON has bytes as base64; these files have them as text.
void EncodeEnvironment(json::object& config) {
  json::value* list = config.if_contains("envs");
  if (list == nullptr || !list->is_array()) return;
  for (json::value& item : list->get_array()) {
    if (!item.is_object()) continue;
    json::value* value = item.get_object().if_contains("value");
    if (value == nullptr || !value->is_string()) continue;
    std::string encoded = http::Base64Encode(std::string_view(value->get_string().data(), value->get_string().size()));
    *value = json::string(encoded);
  }
}

// protobuf says "(linux.security_context) privilegd: Cannot find field.".
std::string Reword(const google::protobuf::Descriptor& type, std::string message) {
  constexpr std::string_view kUnknown = ": Cannot find field.";
  if (!message.ends_with(kUnknown)) return message;
  message.resize(message.size() - kUnknown.size());
  std::string where;
  std::string name = message;
  if (size_t end = message.find(") "); message.starts_with("(") && end != std::string::npos) {
    where = message.substr(1, end - 1);
    name = message.substr(end + 2);
  }
  std::string text = fmt::format("unknown field \"{}\"{}", name, where.empty() ? "" : " in " + where);
  if (where.empty()) {
    std::vector<std::string> known;
    for (int i = 0; i < type.field_count(); ++i) known.push_back(type.field(i)->name());
    if (auto near = NearestWord(name, known)) text += fmt::format(" (did you mean \"{}\"?)", *near);
  }
  return text;
}

template <class Message>
Result<Message> ParseMessage(std::string_view text, const std::string& file) {
  if (text.size() > kMaxConfigFileBytes)
    return ResourceExhausted(fmt::format("{}: longer than {} bytes", file, kMaxConfigFileBytes));
  ASSIGN_OR_RETURN(json::value value, Parse(text, file));
  EncodeEnvironment(value.get_object());
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;  // a misspelt field would silently not be applied
  Message message;
  auto status = google::protobuf::util::JsonStringToMessage(json::serialize(value), &message, options);
  if (!status.ok()) {
    std::string why(status.message().data(), status.message().size());
    return InvalidArgument(file + ": " + Printable(Reword(*Message::descriptor(), std::move(why)), 512));
  }
  return message;
}

Result<std::string> ReadConfig(const std::string& path) {
  if (path == "-") return sys::ReadAll(STDIN_FILENO, kMaxConfigFileBytes);
  return sys::ReadFile(path, kMaxConfigFileBytes);
}

Status CheckPod(const runtime::v1::PodSandboxConfig& config, const std::string& file) {
  if (!config.has_metadata()) return InvalidArgument(file + ": no \"metadata\": is this a pod configuration?");
  return {};
}

}  // namespace

Result<runtime::v1::PodSandboxConfig> ParsePodConfig(std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(auto config, ParseMessage<runtime::v1::PodSandboxConfig>(text, file));
  RETURN_IF_ERROR(CheckPod(config, file));
  return config;
}

Result<runtime::v1::ContainerConfig> ParseContainerConfig(std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(auto config, ParseMessage<runtime::v1::ContainerConfig>(text, file));
  if (!config.has_metadata()) return InvalidArgument(file + ": no \"metadata\": is this a container configuration?");
  return config;
}

Result<runtime::v1::PodSandboxConfig> LoadPodConfig(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadConfig(path));
  return ParsePodConfig(text, path);
}

Result<runtime::v1::ContainerConfig> LoadContainerConfig(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadConfig(path));
  return ParseContainerConfig(text, path);
}

}  // namespace davit::cli
