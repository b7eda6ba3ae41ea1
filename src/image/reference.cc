#include "image/reference.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ids.h"
#include "base/strings.h"
#include "oci/digest.h"

namespace davit::image {
namespace {

constexpr size_t kMaxName = 255, kMaxTag = 128;
constexpr std::string_view kDocker = "docker.io";
constexpr std::string_view kLibraryScheme = "library://";
constexpr std::string_view kLibraryDomain = "cloud.sylabs.io";  // what Singularity-CRI has instead of the scheme

bool IsLower(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsAlnum(char c) { return IsLower(c) || (c >= 'A' && c <= 'Z'); }

// path-component := [a-z0-9]+ (("." | "_" | "__" | "-"+) [a-z0-9]+)*
bool IsPathPart(std::string_view part) {
  if (part.empty() || !IsLower(part.front()) || !IsLower(part.back())) return false;
  size_t run = 0;  // separators so far
  for (size_t i = 0; i < part.size(); ++i) {
    char c = part[i];
    if (IsLower(c)) {
      run = 0;
      continue;
    }
    if (c != '.' && c != '_' && c != '-') return false;
    if (++run == 1) continue;
    if (part[i - 1] != c || c == '.' || (c == '_' && run > 2)) return false;
  }
  return true;
}

bool IsPort(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// A host name, an IPv4 address or an IPv6 address in brackets, with an optional port.
bool IsDomain(std::string_view text) {
  if (text.starts_with('[')) {
    size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    for (char c : text.substr(1, close - 1)) {
      if (c != ':' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F')) return false;
    }
    std::string_view rest = text.substr(close + 1);
    return rest.empty() || (rest[0] == ':' && IsPort(rest.substr(1)));
  }
  size_t colon = text.find(':');
  if (colon != std::string_view::npos && !IsPort(text.substr(colon + 1))) return false;
  for (const std::string& part : Split(text.substr(0, colon), '.')) {
    if (part.empty() || part.front() == '-' || part.back() == '-') return false;
    if (!std::all_of(part.begin(), part.end(), [](char c) { return IsAlnum(c) || c == '-'; })) return false;
  }
  return true;
}

bool IsTag(std::string_view tag) {
  if (tag.empty() || tag.size() > kMaxTag || tag[0] == '.' || tag[0] == '-') return false;
  return std::all_of(tag.begin(), tag.end(), [](char c) { return IsAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool LooksLikeDomain(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

Status Bad(std::string_view text, std::string_view why) {
  return InvalidArgument(fmt::format("image reference \"{}\": {}", Printable(text, 300), why));
}

Status CheckPath(std::string_view text, const std::string& path) {
  for (const std::string& part : Split(path, '/')) {
    if (IsPathPart(part)) continue;
    bool upper = std::any_of(path.begin(), path.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    return Bad(text, upper ? "the repository must be lower case" : "the repository has an invalid component");
  }
  return {};
}

}  // namespace

Result<Reference> Reference::Parse(std::string_view text, std::string_view default_domain) {
  if (text.empty()) return InvalidArgument("image reference is empty");
  if (text.size() > 1024) return Bad(text, "too long");
  if (text.starts_with(kLibraryScheme)) {
    const std::string alias = std::string(kLibraryDomain) + "/" + std::string(text.substr(kLibraryScheme.size()));
    return Parse(alias, default_domain);
  }
  if (IsFullId(text)) return Bad(text, "64 hex digits are an image id, not a name");
  Reference out;
  std::string_view rest = text;
  if (size_t at = rest.find('@'); at != std::string_view::npos) {
    Result<oci::Digest> digest = oci::Digest::Parse(rest.substr(at + 1));
    if (!digest.ok()) return Bad(text, digest.status().message());
    out.digest_ = digest->ToString();
    rest = rest.substr(0, at);
  }
  // A colon after the last slash begins the tag; one before it belongs to a port.
  size_t slash = rest.rfind('/');
  size_t colon = rest.find(':', slash == std::string_view::npos ? 0 : slash);
  if (colon != std::string_view::npos) {
    out.tag_ = rest.substr(colon + 1);
    if (!IsTag(out.tag_)) return Bad(text, "the tag is invalid");
    rest = rest.substr(0, colon);
  }
  if (rest.empty()) return Bad(text, "no repository");
  size_t first = rest.find('/');
  if (first != std::string_view::npos && LooksLikeDomain(rest.substr(0, first))) {
    out.domain_ = rest.substr(0, first);
    out.repository_ = rest.substr(first + 1);
    if (!IsDomain(out.domain_)) return Bad(text, "the registry is no host name");
  } else {
    out.domain_ = default_domain;
    out.repository_ = rest;
  }
  if (out.domain_ == "index.docker.io") out.domain_ = kDocker;
  RETURN_IF_ERROR(CheckPath(text, out.repository_));
  if (out.domain_ == kDocker && out.repository_.find('/') == std::string::npos)
    out.repository_ = "library/" + out.repository_;
  if (out.Name().size() > kMaxName) return Bad(text, fmt::format("the name is longer than {} bytes", kMaxName));
  if (out.tag_.empty() && out.digest_.empty()) out.tag_ = "latest";
  return out;
}

bool Reference::HasRegistry(std::string_view text) {
  const size_t first = text.find('/');
  return first != std::string_view::npos && LooksLikeDomain(text.substr(0, first));
}

std::string Reference::Name() const { return empty() ? "" : domain_ + "/" + repository_; }

std::string Reference::FamiliarName() const {
  if (domain_ != kDocker) return Name();
  constexpr std::string_view kLibrary = "library/";
  const size_t slash = repository_.find('/');
  if (repository_.starts_with(kLibrary) && repository_.find('/', kLibrary.size()) == std::string::npos) {
    std::string name = repository_.substr(kLibrary.size());
    return IsFullId(name) ? Name() : name;  // would be read as an image id
  }
  // "docker.io/localhost/x" without its domain would name another registry.
  return LooksLikeDomain(std::string_view(repository_).substr(0, slash)) ? Name() : repository_;
}

std::string Reference::TaggedName() const { return tag_.empty() ? "" : Name() + ":" + tag_; }
std::string Reference::DigestedName() const { return digest_.empty() ? "" : Name() + "@" + digest_; }

std::string Reference::String() const {
  std::string out = Name();
  if (!tag_.empty()) out += ":" + tag_;
  if (!digest_.empty()) out += "@" + digest_;
  return out;
}

bool IsDockerHub(std::string_view host) {
  return host == kDocker || host == "index.docker.io" || host == "registry-1.docker.io";
}

bool IsImageId(std::string_view text) {
  if (text.starts_with("sha256:")) text.remove_prefix(7);
  return IsFullId(text);
}

bool IsImageIdPrefix(std::string_view text) {
  if (text.starts_with("sha256:")) text.remove_prefix(7);
  return text.size() >= 3 && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace davit::image
