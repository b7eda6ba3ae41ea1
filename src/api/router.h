// Router: which handler answers a request.
//
// Patterns are paths without the prefixes of versions: "/containers/{name}/json"; {name} is one segment and {name*} one
// or more (names of images have slashes). Matching goes by the path as it was sent, so that %2F is part of a segment.
// Of several that match, the one with most literal segments answers.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/exchange.h"
#include "base/result.h"

namespace davit::api {

class Api;

enum class Flavour { kCompat, kLibpod, kBoth };

// Answers on a pool's thread, and may wait. An error becomes the answer.
using ReplyHandler = std::function<Result<Reply>(Api&, const Request&)>;
// Answers through the exchange, now or later. An error that it returns is sent when it has not begun an answer.
using StreamHandler = std::function<Status(Api&, const ExchangePtr&)>;

struct Route {
  std::string method;
  Flavour flavour = Flavour::kBoth;
  std::vector<std::string> segments;
  std::variant<ReplyHandler, StreamHandler> handler;
  bool stream_body = false;
  bool slow = false;  // may take minutes: the pool of such
};

struct RouteOptions {
  bool stream_body = false;
  bool slow = false;
};

// A path taken apart: "/v1.41/libpod/x" is {libpod, {1, 41}, "/x"}.
struct ApiPath {
  bool libpod = false;
  ApiVersion version;
  std::string_view rest;  // into the path
};
ApiPath SplitApiPath(std::string_view raw_path);

class Router {
 public:
  void Add(Flavour flavour, std::string method, std::string_view pattern, ReplyHandler handler,
           RouteOptions options = {});
  void Stream(Flavour flavour, std::string method, std::string_view pattern, StreamHandler handler,
              RouteOptions options = {});

  struct Found {
    const Route* route = nullptr;  // nullptr: nobody
    bool other_method = false;     // …but another method would be answered
    std::map<std::string, std::string, std::less<>> params;
  };
  // HEAD is looked up as itself and then as GET.
  [[nodiscard]] Found Find(std::string_view method, const ApiPath& path) const;

  [[nodiscard]] const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace davit::api
