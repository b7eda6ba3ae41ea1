#include "api/exchange.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "api/connection.h"
#include "base/strings.h"
#include "http/chunked.h"

namespace davit::api {
namespace {

const std::string kNone;

std::string HttpDate() { return fmt::format("{:%a, %d %b %Y %H:%M:%S GMT}", fmt::gmtime(std::time(nullptr))); }

}  // namespace

const std::string& Request::Param(std::string_view name) const {
  auto it = params.find(name);
  return it == params.end() ? kNone : it->second;
}

std::string Request::Query(std::string_view name) const {
  std::string out;
  for (const auto& [key, value] : head.query) {
    if (key == name) out = value;
  }
  return out;
}

bool Request::HasQuery(std::string_view name) const {
  for (const auto& [key, value] : head.query) {
    if (key == name) return true;
  }
  return false;
}

std::vector<std::string> Request::QueryAll(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : head.query) {
    if (key == name) out.push_back(value);
  }
  return out;
}

Result<bool> Request::QueryBool(std::string_view name, bool fallback) const {
  std::string text = Query(name);
  if (text.empty()) return fallback;
  for (const char* yes : {"1", "t", "T", "true", "True", "TRUE", "yes", "on"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"0", "f", "F", "false", "False", "FALSE", "no", "off"}) {
    if (text == no) return false;
  }
  return InvalidArgument(
      fmt::format("failed to parse parameters: schema: error converting value for \"{}\"", Printable(name)));
}

Result<int64_t> Request::QueryInt(std::string_view name, int64_t fallback) const {
  std::string text = Query(name);
  if (text.empty()) return fallback;
  if (auto number = ParseInt64(text)) return *number;
  return InvalidArgument(
      fmt::format("failed to parse parameters: schema: error converting value for \"{}\"", Printable(name)));
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 101:
      return "UPGRADED";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

Exchange::Exchange(std::shared_ptr<Connection> connection, Request request, std::shared_ptr<const std::string> common)
    : connection_(std::move(connection)), request_(std::move(request)), common_(std::move(common)) {}

Exchange::~Exchange() {
  if (state_ != State::kDone) connection_->FinishExchange(false);
}

std::string Exchange::Head(const Reply& reply, std::string_view framing) const {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", reply.status, ReasonPhrase(reply.status));
  out += *common_;
  std::string_view reference = request_.head.Header("x-reference-id");
  out += fmt::format(
      "X-Reference-Id: {}\r\nDate: {}\r\n",
      reference.empty() ? fmt::format("{:#x}", reinterpret_cast<uintptr_t>(this)) : std::string(reference), HttpDate());
  if (!reply.content_type.empty()) out += "Content-Type: " + reply.content_type + "\r\n";
  for (const auto& [name, value] : reply.headers) out += name + ": " + value + "\r\n";
  out += framing;
  out += "\r\n";
  return out;
}

void Exchange::Send(const Reply& reply) {
  bool bodiless = reply.status == 204 || reply.status == 304;
  Reply shown = reply;
  if (bodiless) shown.content_type.clear();
  std::string out = Head(shown, bodiless ? std::string() : fmt::format("Content-Length: {}\r\n", reply.body.size()));
  if (!bodiless && !request_.is_head) out += reply.body;
  state_ = State::kDone;
  connection_->SendBytes(std::move(out));
  connection_->FinishExchange(true);
}

void Exchange::Begin(const Reply& head) {
  state_ = State::kChunked;
  connection_->SendBytes(Head(head, "Transfer-Encoding: chunked\r\n"));
}

void Exchange::Hijack(std::string_view content_type, std::function<void(std::string_view)> data,
                      std::function<void()> eof) {
  state_ = State::kRaw;
  bool upgrade = request_.head.HasToken("connection", "upgrade");
  std::string head = upgrade ? "HTTP/1.1 101 UPGRADED\r\n" : "HTTP/1.1 200 OK\r\n";
  head += fmt::format("Content-Type: {}\r\n", content_type);
  if (upgrade) head += "Connection: Upgrade\r\nUpgrade: tcp\r\n";
  connection_->SendBytes(head + "\r\n");
  connection_->Hijack(std::move(data), std::move(eof));
}

bool Exchange::Write(std::string_view bytes) {
  if (bytes.empty() || request_.is_head) return !closed();
  return connection_->SendBytes(state_ == State::kChunked ? http::Chunk(bytes) : std::string(bytes));
}

bool Exchange::WriteAndWait(std::string_view bytes) { return Write(bytes) && connection_->WaitUnsentBelow(kHigh); }

void Exchange::End() {
  if (state_ == State::kDone) return;
  bool chunked = state_ == State::kChunked;
  state_ = State::kDone;
  if (chunked && !request_.is_head) connection_->SendBytes(std::string(http::kLastChunk));
  connection_->FinishExchange(chunked);
}

size_t Exchange::unsent() const { return connection_->Unsent(); }
void Exchange::OnDrained(std::function<void()> callback) { connection_->OnDrained(std::move(callback)); }
void Exchange::PauseInput(bool paused) { connection_->PauseInput(paused); }
void Exchange::OnClosed(std::function<void()> callback) { connection_->OnClosed(std::move(callback)); }
bool Exchange::closed() const { return connection_->closed(); }

}  // namespace davit::api
