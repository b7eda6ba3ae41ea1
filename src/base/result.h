// Result<T>: a value or the Status that says why there is none. An API subset of std::expected.
#pragma once

#include <cassert>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/status.h"

namespace davit {

template <class T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<std::remove_cvref_t<T>, Status>, "use Status itself");

 public:
  using value_type = T;

  Result(T value) : value_(std::move(value)) {}      // NOLINT: implicit like std::expected
  Result(Status error) : error_(std::move(error)) {  // NOLINT
    assert(!error_.ok() && "a Result without a value needs an error");
    if (error_.ok()) error_ = Internal("result without value");
  }
  template <class U>
  requires(std::is_convertible_v<U&&, T> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Status> && !std::is_same_v<std::remove_cvref_t<U>, T>)
      Result(U&& value)
      : value_(std::forward<U>(value)) {}  // NOLINT

  [[nodiscard]] bool ok() const { return value_.has_value(); }
  [[nodiscard]] bool has_value() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }

  // OK when there is a value.
  [[nodiscard]] const Status& status() const { return error_; }
  [[nodiscard]] StatusCode code() const { return error_.code(); }

  [[nodiscard]] T& value() & { return *value_; }
  [[nodiscard]] const T& value() const& { return *value_; }
  [[nodiscard]] T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T operator*() && { return std::move(*value_); }  // by value: safe in `for (x : *F())`
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

  template <class U>
  [[nodiscard]] T value_or(U&& fallback) const& {
    return value_ ? *value_ : static_cast<T>(std::forward<U>(fallback));
  }

 private:
  std::optional<T> value_;
  Status error_;
};

}  // namespace davit

// ASSIGN_OR_RETURN(auto x, F()): x is the value, or the function returns F's error.
#define ASSIGN_OR_RETURN(lhs, expr) DAVIT_ASSIGN_OR_RETURN_INNER(DAVIT_CONCAT(davit_result_, __COUNTER__), lhs, expr)
#define DAVIT_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = std::move(*tmp)

// The same, with the caller's intent in front of the error's text.
#define ASSIGN_OR_RETURN_WITH(lhs, expr, intent) \
  DAVIT_ASSIGN_OR_RETURN_WITH_INNER(DAVIT_CONCAT(davit_result_, __COUNTER__), lhs, expr, intent)
#define DAVIT_ASSIGN_OR_RETURN_WITH_INNER(tmp, lhs, expr, intent) \
  auto tmp = (expr);                                              \
  if (!tmp.ok()) return tmp.status().Annotate(intent);            \
  lhs = std::move(*tmp)
