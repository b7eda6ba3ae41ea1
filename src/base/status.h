// Status: the outcome of a fallible operation that returns no value.
//
// Why an own type: Debian's abseil has its own string_view, so absl::Status does not take a
// std::string_view, and clang 14 cannot see std::expected (docs/adr/0002). The seventeen codes and
// their numbers are gRPC's (grpc/status.h); cri/codes_test.cc checks that at compile time.
//
// Callers branch on code(), never on the text. The text reads from intent to cause, lower case, no
// full stop: "run pod p1: attach network: exec bridge: permission denied".
#pragma once

#include <string>
#include <string_view>

namespace davit {

enum class StatusCode {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on: the spelling that gRPC tools print.
std::string_view CodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const { return code_ == StatusCode::kOk; }
  [[nodiscard]] StatusCode code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }

  // The same error with `intent` in front: "intent: message". An OK status stays OK.
  [[nodiscard]] Status Annotate(std::string_view intent) const;

  // Keeps this error as the cause and appends a failed undo: "message (undo: other)".
  // An OK status becomes `undo`.
  [[nodiscard]] Status WithUndoError(const Status& undo) const;

  // "OK" or "NOT_FOUND: text".
  [[nodiscard]] std::string ToString() const;

  friend bool operator==(const Status&, const Status&) = default;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// Ignores an error on purpose; the reason belongs in a comment beside the call.
inline void IgnoreError(const Status&) {}

Status InvalidArgument(std::string message);
Status NotFound(std::string message);
Status AlreadyExists(std::string message);
Status FailedPrecondition(std::string message);
Status ResourceExhausted(std::string message);
Status DeadlineExceeded(std::string message);
Status PermissionDenied(std::string message);
Status Unauthenticated(std::string message);
Status Unavailable(std::string message);
Status Unimplemented(std::string message);
Status Cancelled(std::string message);
Status Aborted(std::string message);
Status OutOfRange(std::string message);
Status DataLoss(std::string message);
Status Internal(std::string message);

// "what: strerror(err)" with the code that fits the errno: ENOENT is kNotFound, EEXIST
// kAlreadyExists, EACCES and EPERM kPermissionDenied, ENOSPC, EDQUOT, EMFILE, ENFILE and ENOMEM
// kResourceExhausted, EINVAL kInvalidArgument, ETIMEDOUT kDeadlineExceeded, all others kInternal.
Status ErrnoError(int err, std::string_view what);

}  // namespace davit

#define DAVIT_CONCAT_INNER(a, b) a##b
#define DAVIT_CONCAT(a, b) DAVIT_CONCAT_INNER(a, b)

// Returns the error of a Status expression to the caller.
#define RETURN_IF_ERROR(expr)                                                              \
  do {                                                                                     \
    if (::davit::Status davit_status_ = (expr); !davit_status_.ok()) return davit_status_; \
  } while (false)
