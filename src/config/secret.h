// Secret: text that must not reach a log, an error or a dump by accident. It has no formatter and no
// stream operator, so printing one does not compile; Reveal() is the one way to the text and easy to
// find in a review.
#pragma once

#include <string>
#include <utility>

namespace davit::config {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}

  [[nodiscard]] bool empty() const { return text_.empty(); }
  [[nodiscard]] const std::string& Reveal() const { return text_; }

  friend bool operator==(const Secret&, const Secret&) = default;

 private:
  std::string text_;
};

}  // namespace davit::config
