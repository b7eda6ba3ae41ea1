#include "trust/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "http/base64.h"
#include "image/sha256.h"
#include "oci/json.h"
#include "oci/reflect.h"
#include "sys/unique_fd.h"

namespace davit::trust {

BOOST_DESCRIBE_STRUCT(SignedIdentity, (), (rule, reference, prefix, signed_prefix))
BOOST_DESCRIBE_STRUCT(Requirement, (), (type, keys, rekor_keys, identity, unsupported))
BOOST_DESCRIBE_STRUCT(Decision, (), (file, scope, requirements, accept_unnamed))

namespace {

using oci::JsonNode;

constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxScopes = 4096;
constexpr size_t kMaxRequirements = 64;

// JSON readers take the last of two equal keys; of a rule nobody should have to know which one counts. `text` is valid
// JSON. Keys with escapes are refused: none of this format needs one, and they hide equal keys.
Status CheckKeys(std::string_view text) {
  std::vector<std::set<std::string_view>> open;  // one for each object or array around
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{' || text[i] == '[') open.emplace_back();
    if ((text[i] == '}' || text[i] == ']') && !open.empty()) open.pop_back();
    if (text[i] != '"') continue;
    const size_t begin = ++i;
    while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
    if (i >= text.size()) break;
    const std::string_view string = text.substr(begin, i - begin);
    const size_t next = text.find_first_not_of(" \t\r\n", i + 1);
    if (next == std::string_view::npos || text[next] != ':' || open.empty()) continue;
    if (string.find('\\') != std::string_view::npos)
      return InvalidArgument(fmt::format("the key \"{}\" has an escape", Printable(string)));
    if (!open.back().insert(string).second)
      return InvalidArgument(fmt::format("the key \"{}\" is there twice", Printable(string)));
  }
  return {};
}

Status CheckOnly(const JsonNode& node, std::initializer_list<std::string_view> allowed) {
  if (!node.is_object()) return node.Error("expected an object");
  ASSIGN_OR_RETURN(std::vector<std::string> keys, node.Keys());
  for (const std::string& key : keys) {
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      return node.Error(fmt::format("unknown key \"{}\"", Printable(key)));
    if (!node.Key(key).present()) return node.Error(fmt::format("\"{}\" is null", Printable(key)));
  }
  return {};
}

Result<image::Reference> ParseNormal(const JsonNode& node, bool with_tag) {
  ASSIGN_OR_RETURN(std::string text, node.String());
  Result<image::Reference> reference = image::Reference::Parse(text);
  if (!reference.ok()) return node.Error(reference.status().message());
  const size_t slash = text.rfind('/');
  const bool tagged = text.find(':', slash == std::string::npos ? 0 : slash) != std::string::npos;
  if (with_tag && !tagged) return node.Error("a tag or digest is needed");
  if (!with_tag && (tagged || !reference->digest().empty())) return node.Error("a repository has no tag or digest");
  return reference;
}

Result<std::string> ParsePrefix(const JsonNode& node) {
  ASSIGN_OR_RETURN(std::string text, node.String());
  // A host, or a host with a path: as an image of it would be named.
  const bool host = text.find('/') == std::string::npos;
  if (text.empty() || text.find('@') != std::string::npos || !image::Reference::Parse(host ? text + "/x" : text).ok())
    return node.Error("no host[:port][/namespace[/repository]]");
  Result<image::Reference> parsed = image::Reference::Parse(host ? text + "/x" : text);
  if ((host ? parsed->domain() : parsed->Name()) != text) return node.Error("no fully expanded name");
  return text;
}

Result<SignedIdentity> ParseIdentity(const JsonNode& node) {
  SignedIdentity out;
  if (!node.present()) return out;
  ASSIGN_OR_RETURN(std::string type, node.Key("type").String());
  if (type == "matchRepoDigestOrExact" || type == "matchExact" || type == "matchRepository") {
    RETURN_IF_ERROR(CheckOnly(node, {"type"}));
    out.rule = type == "matchExact"        ? IdentityRule::kMatchExact
               : type == "matchRepository" ? IdentityRule::kMatchRepository
                                           : IdentityRule::kMatchRepoDigestOrExact;
  } else if (type == "exactReference") {
    RETURN_IF_ERROR(CheckOnly(node, {"type", "dockerReference"}));
    out.rule = IdentityRule::kExactReference;
    ASSIGN_OR_RETURN(image::Reference reference, ParseNormal(node.Key("dockerReference"), true));
    out.reference = reference.String();
  } else if (type == "exactRepository") {
    RETURN_IF_ERROR(CheckOnly(node, {"type", "dockerRepository"}));
    out.rule = IdentityRule::kExactRepository;
    ASSIGN_OR_RETURN(image::Reference reference, ParseNormal(node.Key("dockerRepository"), false));
    out.reference = reference.Name();
  } else if (type == "remapIdentity") {
    RETURN_IF_ERROR(CheckOnly(node, {"type", "prefix", "signedPrefix"}));
    out.rule = IdentityRule::kRemapIdentity;
    ASSIGN_OR_RETURN(out.prefix, ParsePrefix(node.Key("prefix")));
    ASSIGN_OR_RETURN(out.signed_prefix, ParsePrefix(node.Key("signedPrefix")));
  } else {
    return node.Error(fmt::format("unknown type \"{}\"", Printable(type)));
  }
  return out;
}

// The keys of one of four spellings; `name` is "key" or "rekorPublicKey". Empty when none is there.
Result<std::vector<std::string>> ParseKeys(const JsonNode& node, const std::string& name, bool with_datas,
                                           const Policy::ReadKey& read_key) {
  std::vector<std::string> out;
  std::vector<std::string> paths;
  size_t spellings = 0;
  if (JsonNode one = node.Key(name + "Path"); one.present()) {
    ++spellings;
    ASSIGN_OR_RETURN(std::string path, one.String());
    paths.push_back(std::move(path));
  }
  if (JsonNode many = node.Key(name + "Paths"); many.present()) {
    ++spellings;
    ASSIGN_OR_RETURN(paths, many.Strings(kMaxKeys));
    if (paths.empty()) return many.Error("is empty");
  }
  std::vector<std::string> datas;
  if (JsonNode one = node.Key(name + "Data"); one.present()) {
    ++spellings;
    ASSIGN_OR_RETURN(std::string data, one.String());
    datas.push_back(std::move(data));
  }
  if (JsonNode many = node.Key(name + "Datas"); with_datas && many.present()) {
    ++spellings;
    ASSIGN_OR_RETURN(datas, many.Strings(kMaxKeys));
    if (datas.empty()) return many.Error("is empty");
  }
  if (spellings > 1) return node.Error(fmt::format("only one of {0}Path, {0}Paths, {0}Data may be there", name));
  for (const std::string& path : paths) {
    Result<std::string> key = read_key(path);
    if (!key.ok()) return node.Error(fmt::format("key file {}: {}", Printable(path), key.status().message()));
    if (key->empty()) return node.Error(fmt::format("key file {} is empty", Printable(path)));
    out.push_back(http::Base64Encode(*key));
  }
  for (const std::string& data : datas) {
    std::optional<std::string> key = http::Base64Decode(data);
    if (!key || key->empty()) return node.Error(fmt::format("{}Data is not base64", name));
    if (key->size() > kMaxKeyBytes) return node.Error(fmt::format("{}Data is too large", name));
    out.push_back(data);
  }
  return out;
}

Result<Requirement> ParseRequirement(const JsonNode& node, const Policy::ReadKey& read_key) {
  Requirement out;
  ASSIGN_OR_RETURN(std::string type, node.Key("type").String());
  if (type == "insecureAcceptAnything" || type == "reject") {
    out.type = type == "reject" ? RequirementType::kReject : RequirementType::kAcceptAnything;
    RETURN_IF_ERROR(CheckOnly(node, {"type"}));
    return out;
  }
  if (type == "signedBy") {
    out.type = RequirementType::kSignedBy;
    RETURN_IF_ERROR(CheckOnly(node, {"type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"}));
    ASSIGN_OR_RETURN(std::string key_type, node.Key("keyType").String());
    if (key_type != "GPGKeys") return node.Key("keyType").Error("only GPGKeys is supported");
    ASSIGN_OR_RETURN(out.keys, ParseKeys(node, "key", false, read_key));
    if (out.keys.empty()) return node.Error("one of keyPath, keyPaths, keyData is needed");
  } else if (type == "sigstoreSigned") {
    out.type = RequirementType::kSigstoreSigned;
    RETURN_IF_ERROR(
        CheckOnly(node, {"type", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki", "rekorPublicKeyPath",
                         "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "signedIdentity"}));
    ASSIGN_OR_RETURN(out.keys, ParseKeys(node, "key", true, read_key));
    ASSIGN_OR_RETURN(out.rekor_keys, ParseKeys(node, "rekorPublicKey", true, read_key));
    for (const char* authority : {"fulcio", "pki"}) {
      if (!node.Key(authority).present()) continue;
      if (!node.Key(authority).is_object()) return node.Key(authority).Error("expected an object");
      if (!out.keys.empty() || !out.unsupported.empty())
        return node.Error("only one of key…, fulcio, pki may be there");
      out.unsupported =
          fmt::format("{} is not supported: davit checks sigstore signatures by public keys only", authority);
    }
    if (out.keys.empty() && out.unsupported.empty())
      return node.Error("one of keyPath, keyPaths, keyData, keyDatas is needed");
  } else {
    return node.Error(fmt::format("unknown type \"{}\"", Printable(type)));
  }
  ASSIGN_OR_RETURN(out.identity, ParseIdentity(node.Key("signedIdentity")));
  return out;
}

Result<std::vector<Requirement>> ParseRequirements(const JsonNode& node, const Policy::ReadKey& read_key) {
  if (!node.is_array()) return node.Error("expected a list of requirements");
  ASSIGN_OR_RETURN(std::vector<JsonNode> elements, node.Elements(kMaxRequirements));
  if (elements.empty()) return node.Error("the list of requirements is empty");
  std::vector<Requirement> out;
  for (const JsonNode& element : elements) {
    ASSIGN_OR_RETURN(Requirement requirement, ParseRequirement(element, read_key));
    out.push_back(std::move(requirement));
  }
  return out;
}

Status CheckScope(const JsonNode& node, const std::string& scope) {
  std::string_view rest = scope;
  if (rest.starts_with("*.")) {
    rest.remove_prefix(2);
    if (rest.find('/') != std::string_view::npos || rest.empty())
      return node.Error(fmt::format("\"{}\": a wildcard stands for a host alone", Printable(scope)));
  }
  if (rest.find('*') != std::string_view::npos)
    return node.Error(fmt::format("\"{}\": * is only known as *.host", Printable(scope)));
  return {};
}

}  // namespace

bool Decision::AcceptsAnything() const {
  return std::all_of(requirements.begin(), requirements.end(),
                     [](const Requirement& r) { return r.type == RequirementType::kAcceptAnything; });
}

bool Decision::Wants(RequirementType type) const {
  return std::any_of(requirements.begin(), requirements.end(), [&](const Requirement& r) { return r.type == type; });
}

std::string Decision::Fingerprint() const { return image::Sha256::Of(EncodeDecision(*this)).ToString(); }

std::string EncodeDecision(const Decision& decision) { return oci::ReflectToText(decision); }

Result<Decision> DecodeDecision(std::string_view text) {
  ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(text, size_t{64} << 20));
  Decision out;
  RETURN_IF_ERROR(oci::Unreflect(json, out, "decision"));
  if (out.requirements.empty()) return InvalidArgument("decision: no requirements");
  return out;
}

std::vector<std::string> ScopesOf(const image::Reference& reference) {
  std::vector<std::string> out;
  // A digest says more than the tag beside it, which nobody looks up.
  out.push_back(reference.digest().empty() ? reference.TaggedName() : reference.DigestedName());
  std::string name = reference.Name();
  while (true) {
    out.push_back(name);
    const size_t slash = name.rfind('/');
    if (slash == std::string::npos) break;
    name.resize(slash);
  }
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
    out.push_back("*" + name.substr(dot));
  return out;
}

Result<Policy> Policy::Parse(std::string_view text, const std::string& file, const ReadKey& read_key) {
  Policy out;
  out.file_ = file;
  const auto parse = [&]() -> Status {
    ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(text, kMaxPolicyBytes, kMaxDepth));
    RETURN_IF_ERROR(CheckKeys(text));
    JsonNode root(json, "policy");
    RETURN_IF_ERROR(CheckOnly(root, {"default", "transports"}));
    ASSIGN_OR_RETURN(out.default_, ParseRequirements(root.Key("default"), read_key));
    if (!root.Key("transports").present()) return {};
    ASSIGN_OR_RETURN(auto transports, root.Key("transports").Members(64));
    for (const auto& [transport, scopes] : transports) {
      if (!scopes.is_object()) return scopes.Error("expected an object");
      ASSIGN_OR_RETURN(auto members, scopes.Members(kMaxScopes));
      for (const auto& [scope, requirements] : members) {
        ASSIGN_OR_RETURN(std::vector<Requirement> parsed, ParseRequirements(requirements, read_key));
        if (transport != "docker") continue;  // checked, as for all programs that read this file, but not ours
        RETURN_IF_ERROR(CheckScope(scopes, scope));
        out.docker_[scope] = std::move(parsed);
      }
    }
    return {};
  };
  if (Status status = parse(); !status.ok()) return InvalidArgument(file + ": " + status.message());
  return out;
}

Result<Policy> Policy::Load(const std::string& file) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(file, kMaxPolicyBytes));
  return Parse(text, file, [](const std::string& path) { return sys::ReadFile(path, kMaxKeyBytes); });
}

Decision Policy::For(const image::Reference& reference) const {
  Decision out;
  out.file = file_;
  for (const std::string& scope : ScopesOf(reference)) {
    auto found = docker_.find(scope);
    if (found == docker_.end()) continue;
    out.scope = fmt::format("transports.docker[\"{}\"]", scope);
    out.requirements = found->second;
    return out;
  }
  auto any = docker_.find("");
  out.scope = any == docker_.end() ? "default" : "transports.docker[\"\"]";
  out.requirements = any == docker_.end() ? default_ : any->second;
  return out;
}

}  // namespace davit::trust
