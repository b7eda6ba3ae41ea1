#include "image/auth_challenge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace davit::image {
namespace {

bool IsTokenChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// A cursor over the header. Positions only move forward, so the loops end.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }
  [[nodiscard]] char peek() const { return done() ? '\0' : text_[at_]; }
  void Skip() { ++at_; }
  void SkipBlanks() {
    while (!done() && (peek() == ' ' || peek() == '\t')) ++at_;
  }
  std::string_view Token() {
    size_t begin = at_;
    while (!done() && IsTokenChar(peek())) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  std::string Quoted() {  // at the opening quote
    std::string out;
    for (++at_; !done() && peek() != '"'; ++at_) {
      if (peek() == '\\' && at_ + 1 < text_.size()) ++at_;
      out += peek();
    }
    ++at_;
    return out;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::vector<Challenge> ParseChallenges(std::string_view header) {
  constexpr size_t kMaxChallenges = 8, kMaxParams = 16;
  std::vector<Challenge> out;
  Scanner scan(header);
  while (!scan.done()) {
    scan.SkipBlanks();
    std::string_view word = scan.Token();
    if (word.empty()) {
      scan.Skip();
      continue;
    }
    scan.SkipBlanks();
    if (scan.peek() != '=') {  // a scheme: what follows are its parameters
      if (out.size() == kMaxChallenges) break;
      out.push_back({Lower(word), {}});
      continue;
    }
    scan.Skip();
    scan.SkipBlanks();
    std::string value = scan.peek() == '"' ? scan.Quoted() : std::string(scan.Token());
    if (!out.empty() && out.back().params.size() < kMaxParams) out.back().params.emplace(Lower(word), std::move(value));
  }
  return out;
}

std::string UrlEncode(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace davit::image
