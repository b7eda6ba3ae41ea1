#include <fmt/format.h>

#include "oci/descriptor_json.h"
#include "oci/image_spec.h"
#include "oci/json.h"

namespace davit::oci {
namespace {

inline constexpr size_t kMaxHistory = 4096;

// Everything that becomes an argument, a variable or a path goes through here: the kernel ends it at a
// NUL, so one inside would make two tools see two different values.
Status CheckText(const JsonNode& node, const std::string& text) {
  if (text.find('\0') != std::string::npos) return node.Error("contains a NUL byte");
  if (text.size() > kMaxConfigStringBytes) {
    return ResourceExhausted(
        fmt::format("{}: {} bytes, over the cap of {}", node.path(), text.size(), kMaxConfigStringBytes));
  }
  return {};
}

Result<std::string> Text(const JsonNode& node) {
  ASSIGN_OR_RETURN(std::string text, node.StringOr(""));
  RETURN_IF_ERROR(CheckText(node, text));
  return text;
}

Result<std::vector<std::string>> Texts(const JsonNode& node) {
  // Builders before 2015 wrote a command of one word as a bare string.
  if (node.is_string()) {
    ASSIGN_OR_RETURN(std::string text, Text(node));
    return std::vector<std::string>{std::move(text)};
  }
  ASSIGN_OR_RETURN(std::vector<std::string> texts, node.Strings());
  for (const std::string& text : texts) RETURN_IF_ERROR(CheckText(node, text));
  return texts;
}

Result<std::vector<std::string>> Set(const JsonNode& node) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, node.Keys());
  for (const std::string& name : names) RETURN_IF_ERROR(CheckText(node, name));
  return names;
}

Result<Healthcheck> ReadHealthcheck(const JsonNode& node) {
  Healthcheck check;
  ASSIGN_OR_RETURN(check.test, Texts(node.Key("Test")));
  ASSIGN_OR_RETURN(check.interval_ns, node.Key("Interval").Int64Or(0));
  ASSIGN_OR_RETURN(check.timeout_ns, node.Key("Timeout").Int64Or(0));
  ASSIGN_OR_RETURN(check.start_period_ns, node.Key("StartPeriod").Int64Or(0));
  ASSIGN_OR_RETURN(check.start_interval_ns, node.Key("StartInterval").Int64Or(0));
  ASSIGN_OR_RETURN(check.retries, node.Key("Retries").Int64Or(0));
  return check;
}

Status ReadExecution(const JsonNode& node, ImageConfig& config) {
  ASSIGN_OR_RETURN(config.user, Text(node.Key("User")));
  ASSIGN_OR_RETURN(config.exposed_ports, Set(node.Key("ExposedPorts")));
  ASSIGN_OR_RETURN(config.env, Texts(node.Key("Env")));
  ASSIGN_OR_RETURN(config.entrypoint, Texts(node.Key("Entrypoint")));
  ASSIGN_OR_RETURN(config.cmd, Texts(node.Key("Cmd")));
  ASSIGN_OR_RETURN(config.working_dir, Text(node.Key("WorkingDir")));
  ASSIGN_OR_RETURN(config.volumes, Set(node.Key("Volumes")));
  ASSIGN_OR_RETURN(config.labels, node.Key("Labels").StringMap());
  ASSIGN_OR_RETURN(config.stop_signal, Text(node.Key("StopSignal")));
  ASSIGN_OR_RETURN(config.on_build, Texts(node.Key("OnBuild")));
  ASSIGN_OR_RETURN(config.shell, Texts(node.Key("Shell")));
  ASSIGN_OR_RETURN(config.args_escaped, node.Key("ArgsEscaped").BoolOr(false));
  if (JsonNode check = node.Key("Healthcheck"); check.present()) {
    ASSIGN_OR_RETURN(config.healthcheck, ReadHealthcheck(check));
  }
  return {};
}

Result<HistoryEntry> ReadHistoryEntry(const JsonNode& node) {
  HistoryEntry entry;
  ASSIGN_OR_RETURN(entry.created, node.Key("created").StringOr(""));
  ASSIGN_OR_RETURN(entry.created_by, node.Key("created_by").StringOr(""));
  ASSIGN_OR_RETURN(entry.author, node.Key("author").StringOr(""));
  ASSIGN_OR_RETURN(entry.comment, node.Key("comment").StringOr(""));
  ASSIGN_OR_RETURN(entry.empty_layer, node.Key("empty_layer").BoolOr(false));
  return entry;
}

Result<std::vector<Digest>> ReadDiffIds(const JsonNode& rootfs) {
  ASSIGN_OR_RETURN(std::string type, rootfs.Key("type").StringOr("layers"));
  if (type != "layers" && !type.empty()) return rootfs.Key("type").Error("expected \"layers\"");
  ASSIGN_OR_RETURN(std::vector<JsonNode> nodes, rootfs.Key("diff_ids").Elements(kMaxLayers));
  std::vector<Digest> diff_ids;
  diff_ids.reserve(nodes.size());
  for (const JsonNode& node : nodes) {
    ASSIGN_OR_RETURN(Digest digest, ReadDigest(node));
    diff_ids.push_back(digest);
  }
  return diff_ids;
}

}  // namespace

Result<ImageConfig> ParseImageConfig(std::string_view text) {
  ASSIGN_OR_RETURN_WITH(boost::json::value document, ParseJson(text), "image config");
  JsonNode root(document, "image config");
  if (!root.is_object()) return root.Error("expected an object");
  ImageConfig config;
  ASSIGN_OR_RETURN(config.platform, ReadPlatform(root));
  ASSIGN_OR_RETURN(config.created, root.Key("created").StringOr(""));
  ASSIGN_OR_RETURN(config.author, root.Key("author").StringOr(""));
  RETURN_IF_ERROR(ReadExecution(root.Key("config"), config));
  ASSIGN_OR_RETURN(config.diff_ids, ReadDiffIds(root.Key("rootfs")));
  ASSIGN_OR_RETURN(std::vector<JsonNode> history, root.Key("history").Elements(kMaxHistory));
  config.history.reserve(history.size());
  for (const JsonNode& node : history) {
    ASSIGN_OR_RETURN(HistoryEntry entry, ReadHistoryEntry(node));
    config.history.push_back(std::move(entry));
  }
  return config;
}

}  // namespace davit::oci
