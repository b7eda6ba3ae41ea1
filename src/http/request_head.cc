#include "http/request_head.h"

#include <algorithm>

#include "base/strings.h"

namespace davit::http {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// RFC 9110 section 5.6.2.
bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool IsFieldText(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

Status ParseTarget(std::string_view target, RequestHead& head) {
  if (target.empty() || target.front() != '/') return InvalidArgument("request target is not a path");
  target = target.substr(0, target.find('#'));
  size_t mark = target.find('?');
  auto path = PercentDecode(target.substr(0, mark), false);
  if (!path || path->find('\0') != std::string::npos) return InvalidArgument("request path is not well formed");
  head.path = std::move(*path);
  head.raw_path = target.substr(0, mark);
  if (mark == std::string_view::npos) return {};
  for (const std::string& pair : Split(target.substr(mark + 1), '&')) {
    if (pair.empty()) continue;
    size_t equals = pair.find('=');
    auto name = PercentDecode(std::string_view(pair).substr(0, equals), true);
    auto value = PercentDecode(equals == std::string::npos ? "" : std::string_view(pair).substr(equals + 1), true);
    if (!name || !value) return InvalidArgument("request query is not well formed");
    head.query.emplace_back(std::move(*name), std::move(*value));
  }
  return {};
}

Status ParseRequestLine(std::string_view line, RequestHead& head) {
  size_t first = line.find(' ');
  size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || !IsToken(line.substr(0, first))) {
    return InvalidArgument("request line is not well formed");
  }
  if (line.substr(last + 1) != "HTTP/1.1") return InvalidArgument("request is not HTTP/1.1");
  std::string_view target = line.substr(first + 1, last - first - 1);
  if (target.find(' ') != std::string_view::npos || !IsFieldText(target)) {
    return InvalidArgument("request line is not well formed");
  }
  head.method = line.substr(0, first);
  return ParseTarget(target, head);
}

Status ParseHeaderLine(std::string_view line, RequestHead& head) {
  size_t colon = line.find(':');
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon)) || !IsFieldText(line)) {
    return InvalidArgument("header line is not well formed");
  }
  if (head.headers.size() >= kMaxRequestHeaders) return ResourceExhausted("too many headers");
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), Lower);
  head.headers.emplace_back(std::move(name), std::string(Trim(line.substr(colon + 1))));
  return {};
}

std::string_view Reason(int code) {
  switch (code) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 426:
      return "Upgrade Required";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (text.size() - i < 3) return std::nullopt;
      auto byte = HexDecode(text.substr(i + 1, 2));
      if (!byte) return std::nullopt;
      out += *byte;
      i += 2;
    } else {
      out.push_back(plus_is_blank && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return Lower(x) == Lower(y); });
}

std::string_view RequestHead::Header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_name) return value;
  }
  return {};
}

std::vector<std::string> RequestHead::HeaderItems(std::string_view lower_name) const {
  std::vector<std::string> items;
  for (const auto& [name, value] : headers) {
    if (name != lower_name) continue;
    for (const std::string& item : Split(value, ',')) {
      if (!Trim(item).empty()) items.emplace_back(Trim(item));
    }
  }
  return items;
}

bool RequestHead::HasToken(std::string_view lower_name, std::string_view token) const {
  for (const std::string& item : HeaderItems(lower_name)) {
    if (EqualsIgnoreCase(item, token)) return true;
  }
  return false;
}

Result<std::optional<RequestHead>> ParseRequestHead(std::string_view input, size_t max_bytes) {
  size_t end = input.find("\r\n\r\n");
  if ((end == std::string_view::npos ? input.size() : end + 4) > max_bytes) {
    return ResourceExhausted("request head is longer than " + std::to_string(max_bytes) + " bytes");
  }
  if (end == std::string_view::npos) return std::optional<RequestHead>();
  RequestHead head;
  head.bytes = end + 4;
  std::string_view lines = input.substr(0, end);
  bool first = true;
  while (!lines.empty() || first) {
    size_t eol = lines.find("\r\n");
    std::string_view line = lines.substr(0, eol);
    lines.remove_prefix(eol == std::string_view::npos ? lines.size() : eol + 2);
    RETURN_IF_ERROR(first ? ParseRequestLine(line, head) : ParseHeaderLine(line, head));
    first = false;
  }
  return std::optional<RequestHead>(std::move(head));
}

std::string ErrorResponse(int code, std::string_view text, std::string_view extra) {
  std::string body(text);
  body += '\n';
  std::string out = "HTTP/1.1 " + std::to_string(code) + " ";
  out += Reason(code);
  out += "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n";
  out += extra;
  out += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  return out;
}

}  // namespace davit::http
