// Status and Result<T>: how prefixd reports what the world does to it (a missing file, a bad request, a full disk).
// What *we* did wrong is a PREFIXD_CHECK instead. Values of these types are plain and may be used from any thread.
//
// Invariants
//   1. A Status is ok exactly when its code is kOk; an ok Status has an empty message.
//   2. A Result holds either a value or a Status that is not ok, never both and never neither.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace prefixd {

// A closed set: callers switch over it, so a new code is a decision about every one of them.
enum class Code : unsigned char {
  kOk,
  kInvalidArgument,     // the caller's value is wrong; trying again does not help
  kNotFound,            // nothing under that name
  kUnsupported,         // understood, but prefixd lacks it
  kCorrupt,             // bytes that do not mean what they should
  kResourceExhausted,   // a limit of ours is reached; later may help
  kUnavailable,         // loading, draining or overloaded; later may help
  kIo,                  // the operating system refused
  kCancelled,
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

  // The same error with `context` and ": " before its message. ok stays ok.
  Status WithContext(std::string_view context) const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }
inline Status NotFound(std::string message) { return {Code::kNotFound, std::move(message)}; }
inline Status Unsupported(std::string message) { return {Code::kUnsupported, std::move(message)}; }
inline Status Corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }
inline Status ResourceExhausted(std::string message) { return {Code::kResourceExhausted, std::move(message)}; }
inline Status Unavailable(std::string message) { return {Code::kUnavailable, std::move(message)}; }
inline Status IoError(std::string message) { return {Code::kIo, std::move(message)}; }
inline Status Cancelled(std::string message) { return {Code::kCancelled, std::move(message)}; }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: a value is a result
  Result(Status status) : status_(std::move(status)) {  // NOLINT: an error is a result
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
    /* Named so that no name inside `expr` is hidden. */                                     \
    if (::prefixd::Status prefixd_error = (expr); !prefixd_error.ok()) return prefixd_error; \
  } while (false)

// PREFIXD_ASSIGN_OR_RETURN(auto x, F()): declares or assigns x from a Result, or returns its error.
#define PREFIXD_ASSIGN_OR_RETURN(lhs, expr) \
  PREFIXD_ASSIGN_OR_RETURN_IMPL(PREFIXD_CONCAT(result_, __LINE__), lhs, expr)
#define PREFIXD_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                  \
  if (!result.ok()) return result.status();              \
  lhs = std::move(result).value()
