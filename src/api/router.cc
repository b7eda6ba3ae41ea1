#include "api/router.h"

#include "base/strings.h"

namespace davit::api {
namespace {

bool IsVersion(std::string_view segment) {
  return segment.size() >= 2 && segment[0] == 'v' && segment[1] >= '0' && segment[1] <= '9' &&
         segment.find_first_not_of("0123456789.-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 1) ==
             std::string_view::npos;
}

ApiVersion ParseVersion(std::string_view text) {
  ApiVersion version;
  size_t dot = text.find('.');
  auto number = [](std::string_view part) {
    part = part.substr(0, part.find_first_not_of("0123456789"));
    return static_cast<unsigned>(std::min<uint64_t>(ParseUint64(part).value_or(0), 1000));
  };
  version.major = number(text.substr(0, dot));
  if (dot != std::string_view::npos) version.minor = number(text.substr(dot + 1));
  return version;
}

bool IsParam(const std::string& segment) { return segment.starts_with("{"); }
bool IsGreedy(const std::string& segment) { return segment.ends_with("*}"); }
std::string ParamName(const std::string& segment) {
  return segment.substr(1, segment.size() - (IsGreedy(segment) ? 3 : 2));
}

// The pieces of a path without its first slash.
std::vector<std::string> Pieces(std::string_view path) {
  if (!path.starts_with('/')) return {};
  return Split(path.substr(1), '/');
}

using Params = std::map<std::string, std::string, std::less<>>;

std::optional<Params> Match(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  size_t greedy = pattern.size();
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (IsGreedy(pattern[i])) greedy = i;
  }
  bool has_greedy = greedy < pattern.size();
  if (has_greedy ? path.size() < pattern.size() : path.size() != pattern.size()) return std::nullopt;
  size_t extra = path.size() - pattern.size();
  Params params;
  size_t at = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (!IsParam(pattern[i])) {
      if (path[at++] != pattern[i]) return std::nullopt;
      continue;
    }
    std::string raw = path[at++];
    for (size_t n = 0; i == greedy && n < extra; ++n) raw += "/" + path[at++];
    auto decoded = http::PercentDecode(raw, false);
    if (!decoded || decoded->empty() || decoded->find('\0') != std::string::npos) return std::nullopt;
    if (raw.ends_with('/')) return std::nullopt;
    params[ParamName(pattern[i])] = std::move(*decoded);
  }
  return params;
}

size_t Literals(const Route& route) {
  size_t count = 0;
  for (const std::string& segment : route.segments) count += IsParam(segment) ? 0 : 1;
  return count;
}

}  // namespace

ApiPath SplitApiPath(std::string_view raw_path) {
  ApiPath out;
  out.rest = raw_path;
  if (raw_path.starts_with('/')) {
    size_t end = std::min(raw_path.find('/', 1), raw_path.size());
    std::string_view first = raw_path.substr(1, end - 1);
    if (IsVersion(first)) {
      out.version = ParseVersion(first.substr(1));
      out.rest = raw_path.substr(end);
    }
  }
  if (out.rest.starts_with("/libpod/")) {
    out.libpod = true;
    out.rest.remove_prefix(7);
  }
  return out;
}

void Router::Add(Flavour flavour, std::string method, std::string_view pattern, ReplyHandler handler,
                 RouteOptions options) {
  routes_.push_back(
      {std::move(method), flavour, Pieces(pattern), std::move(handler), options.stream_body, options.slow});
}

void Router::Stream(Flavour flavour, std::string method, std::string_view pattern, StreamHandler handler,
                    RouteOptions options) {
  routes_.push_back(
      {std::move(method), flavour, Pieces(pattern), std::move(handler), options.stream_body, options.slow});
}

Router::Found Router::Find(std::string_view method, const ApiPath& path) const {
  Found found;
  std::vector<std::string> pieces = Pieces(path.rest);
  size_t best = 0;
  for (int round = 0; round < 2 && found.route == nullptr; ++round) {
    if (round == 1 && method != "HEAD") break;
    std::string_view wanted = round == 1 ? "GET" : method;
    for (const Route& route : routes_) {
      if (route.flavour == (path.libpod ? Flavour::kCompat : Flavour::kLibpod)) continue;
      std::optional<Params> params = Match(route.segments, pieces);
      if (!params) continue;
      if (route.method != wanted) {
        found.other_method = true;
        continue;
      }
      size_t literals = Literals(route) + 1;
      if (literals <= best) continue;
      best = literals;
      found.route = &route;
      found.params = std::move(*params);
    }
  }
  return found;
}

}  // namespace davit::api
