// Status and Result<T>: errors that prefixd must expect and report (a missing file, a bad request, a full
// disk). A bug of prefixd is a PREFIXD_CHECK instead. Status and Result are plain values; any thread.
//
// Invariants
//   1. A Status is ok exactly when its code is kOk. An ok Status has an empty message.
//   2. A Result holds either a value or a Status that is not ok.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace prefixd {

// Callers switch over all codes: a new code requires a change in each such switch.
enum class Code : unsigned char {
  kOk,
  kInvalidArgument,    // the caller's value is wrong; a retry does not help
  kNotFound,           // nothing has that name
  kUnsupported,        // valid, but prefixd does not support it
  kCorrupt,            // data is damaged or contradicts itself
  kResourceExhausted,  // a limit of prefixd is reached; a later retry may help
  kUnavailable,        // loading, draining or overloaded; a later retry may help
  kIo,                 // the operating system reported an error
  kCancelled,          // the caller cancelled it
};

std::string_view CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {
    PREFIXD_CHECK(code != Code::kOk) << "an error needs a code; message: " << message_;
  }

  static Status Ok() { return Status(); }
  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  // "invalid_argument: message", or "ok".
  std::string ToString() const;

  // The same error about `context`: "context: message", or "context is empty" for "is empty". Ok stays ok.
  Status WithContext(std::string_view context) const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }
inline Status NotFound(std::string message) { return {Code::kNotFound, std::move(message)}; }
inline Status Unsupported(std::string message) { return {Code::kUnsupported, std::move(message)}; }
inline Status Corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }
inline Status ResourceExhausted(std::string message) {
  return {Code::kResourceExhausted, std::move(message)};
}
inline Status Unavailable(std::string message) { return {Code::kUnavailable, std::move(message)}; }
inline Status IoError(std::string message) { return {Code::kIo, std::move(message)}; }
inline Status Cancelled(std::string message) { return {Code::kCancelled, std::move(message)}; }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit on purpose
    PREFIXD_CHECK(!status_.ok()) << "a Result without a value needs an error";
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & {
    PREFIXD_CHECK(ok()) << status_.ToString();
    return *value_;
  }
  const T& value() const& {
    PREFIXD_CHECK(ok()) << status_.ToString();
    return *value_;
  }
  T&& value() && {
    PREFIXD_CHECK(ok()) << status_.ToString();
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace prefixd

#define PREFIXD_CONCAT_INNER(a, b) a##b
#define PREFIXD_CONCAT(a, b) PREFIXD_CONCAT_INNER(a, b)

// Returns the error of a Status expression from the enclosing function.
#define PREFIXD_RETURN_IF_ERROR(expr)                                                        \
  do {                                                                                       \
    /* The variable's name must not hide a name that `expr` uses. */                         \
    if (::prefixd::Status prefixd_error = (expr); !prefixd_error.ok()) return prefixd_error; \
  } while (false)

// PREFIXD_ASSIGN_OR_RETURN(auto x, F()): declares or assigns x from a Result, or returns the Result's error
// from the enclosing function.
#define PREFIXD_ASSIGN_OR_RETURN(lhs, expr) \
  PREFIXD_ASSIGN_OR_RETURN_IMPL(PREFIXD_CONCAT(result_, __LINE__), lhs, expr)
#define PREFIXD_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                  \
  if (!result.ok()) return result.status();              \
  lhs = std::move(result).value()
