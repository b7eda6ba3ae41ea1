#include "trust/simple_signing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/strings.h"
#include "oci/json.h"

namespace davit::trust {
namespace {

Status CheckExactly(const oci::JsonNode& node, std::vector<std::string> wanted) {
  ASSIGN_OR_RETURN(std::vector<std::string> keys, node.Keys(16));
  std::sort(keys.begin(), keys.end());
  std::sort(wanted.begin(), wanted.end());
  if (keys != wanted) return node.Error(fmt::format("other keys than {}", fmt::join(wanted, ", ")));
  return {};
}

}  // namespace

Result<SimplePayload> ParseSimplePayload(std::string_view text, PayloadKind kind) {
  ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(text, kMaxPayloadBytes, 16));
  const oci::JsonNode root(json, "payload");
  RETURN_IF_ERROR(CheckExactly(root, {"critical", "optional"}));
  const oci::JsonNode critical = root.Key("critical");
  RETURN_IF_ERROR(CheckExactly(critical, {"type", "image", "identity"}));
  RETURN_IF_ERROR(CheckExactly(critical.Key("image"), {"docker-manifest-digest"}));
  RETURN_IF_ERROR(CheckExactly(critical.Key("identity"), {"docker-reference"}));
  ASSIGN_OR_RETURN(std::string type, critical.Key("type").String());
  if (type != (kind == PayloadKind::kAtomic ? "atomic container signature" : "cosign container image signature"))
    return critical.Key("type").Error(fmt::format("\"{}\" is no container signature", Printable(type)));
  SimplePayload out;
  ASSIGN_OR_RETURN(std::string digest, critical.Key("image").Key("docker-manifest-digest").String());
  ASSIGN_OR_RETURN(out.digest, oci::Digest::Parse(digest));
  ASSIGN_OR_RETURN(out.reference, critical.Key("identity").Key("docker-reference").String());
  return out;
}

}  // namespace davit::trust
