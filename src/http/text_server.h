// TextServer: answers GET with a short text, for metrics and health. One request per connection, no TLS, no
// keep-alive; whoever is slow or too many is cut off and takes nothing from anybody else.
//
// Threads: one of its own, which also calls the handler.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace davit::http {

struct TextAnswer {
  std::string content_type;
  std::string body;
};

struct TextServerOptions {
  std::string address;   // "127.0.0.1:9537", "[::1]:9537" or "unix:///path" (a dead socket is replaced)
  unsigned mode = 0660;  // of a unix socket
  std::string not_found = "there are /metrics and /healthz";  // what a path that is none is told
  size_t max_connections = 32;
  size_t max_header_bytes = 8 * 1024;
  std::chrono::milliseconds timeout = std::chrono::seconds(5);  // from accept to the last byte
};

class TextServer {
 public:
  // nullopt is 404. Must not block.
  using Handler = std::function<std::optional<TextAnswer>(std::string_view path)>;

  // kInvalidArgument for an address that is none, kAlreadyExists when it is taken.
  static Result<std::unique_ptr<TextServer>> Start(const TextServerOptions& options, Handler handler);
  ~TextServer();  // closes every connection; joins

  // "127.0.0.1:41234": with the port that the kernel chose for port 0.
  [[nodiscard]] const std::string& address() const;

 private:
  struct State;
  explicit TextServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::http
