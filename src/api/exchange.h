// One request and its answer.
//
// An Exchange is shared by the connection that it came on and whoever answers it, on any thread. An answer is one of
// three: a Reply; a stream of chunks (Begin, Write…, End); or the connection itself (Hijack, Write…, End), as Docker's
// attach and exec take it over. When the last reference goes without an end, the connection ends.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/body_pipe.h"
#include "base/result.h"
#include "http/request_head.h"

namespace davit::api {

class Connection;

// Of the API that the client names in the path: "/v1.41/…" is {1, 41}; {0, 0}: none named.
struct ApiVersion {
  unsigned major = 0;
  unsigned minor = 0;
  [[nodiscard]] bool named() const { return major != 0; }
  // For a client that names none, what is newest holds.
  [[nodiscard]] bool AtLeast(unsigned want_major, unsigned want_minor) const {
    return !named() || major > want_major || (major == want_major && minor >= want_minor);
  }
};

struct Request {
  http::RequestHead head;
  bool is_head = false;  // HEAD: answered as GET, without the body
  bool libpod = false;
  ApiVersion version;
  std::map<std::string, std::string, std::less<>> params;  // of the path, decoded
  std::string body;                                        // unless the route streams it
  std::shared_ptr<BodyPipe> stream;                        // of a route that does

  // Of the path: "name" in /containers/{name}/json.
  [[nodiscard]] const std::string& Param(std::string_view name) const;
  // Of the query: the last value; empty when absent.
  [[nodiscard]] std::string Query(std::string_view name) const;
  [[nodiscard]] bool HasQuery(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> QueryAll(std::string_view name) const;
  // Absent or empty: the fallback. kInvalidArgument naming it otherwise.
  [[nodiscard]] Result<bool> QueryBool(std::string_view name, bool fallback) const;
  [[nodiscard]] Result<int64_t> QueryInt(std::string_view name, int64_t fallback) const;
};

struct Reply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";  // empty: none is sent
  std::vector<std::pair<std::string, std::string>> headers;
};

class Exchange {
 public:
  // `common`: header lines of every answer, each with its CRLF.
  Exchange(std::shared_ptr<Connection> connection, Request request, std::shared_ptr<const std::string> common);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  [[nodiscard]] const Request& request() const { return request_; }
  Request& mutable_request() { return request_; }  // of the router, before anybody handles it

  void Send(const Reply& reply);

  // Sends the head at once; the body follows in chunks.
  void Begin(const Reply& head);
  // 101 when the client asks for an upgrade, 200 with neither length nor chunks otherwise. From now on `data` gets the
  // client's bytes and `eof` the end of what it sends, both on the connection's thread.
  void Hijack(std::string_view content_type, std::function<void(std::string_view)> data, std::function<void()> eof);
  // One chunk, or raw bytes. False when the client has gone: stop.
  bool Write(std::string_view bytes);
  // The same, and waits while the client is slow. Only on threads that may wait.
  bool WriteAndWait(std::string_view bytes);
  void End();

  // Bytes that the client has not taken yet. A source that must not wait pauses above kHigh…
  static constexpr size_t kHigh = 512 * 1024;
  [[nodiscard]] size_t unsent() const;
  // …and is called, once, when they have gone.
  void OnDrained(std::function<void()> callback);
  // Reading what the client sends rests, in a hijacked connection.
  void PauseInput(bool paused);
  // Called at most once, when the client goes away before the end; at once when it has gone already. Callbacks must not
  // hold the last reference to the exchange's owner.
  void OnClosed(std::function<void()> callback);
  [[nodiscard]] bool closed() const;

 private:
  std::string Head(const Reply& reply, std::string_view framing) const;

  const std::shared_ptr<Connection> connection_;
  Request request_;
  const std::shared_ptr<const std::string> common_;
  enum class State { kOpen, kChunked, kRaw, kDone };
  State state_ = State::kOpen;
};

using ExchangePtr = std::shared_ptr<Exchange>;

// "OK" of 200, and so on.
std::string_view ReasonPhrase(int status);

}  // namespace davit::api
