// Errors and limits of the Jinja interpreter.
//
// Code in this folder reports errors by throwing jinja::Error, because the interpreter is recursive and every
// operator can fail. Template::Parse and Template::Render (template.h) catch the exception and return a
// Status; no exception leaves them.
//
// A Budget counts what one rendering spends. It belongs to that rendering and to its thread.
//
// Invariants
//   1. Every evaluated expression and statement costs one step. Code that scans or builds data costs steps or
//      bytes in proportion to the data.
//   2. No string is longer than Limits::string_bytes. All data built in one rendering, temporaries included,
//      is at most Limits::bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "base/status.h"

namespace prefixd::jinja {

struct Error {
  Code code;
  std::string message;
};

// Throws a run-time error of the template: wrong types, undefined values, raise_exception.
[[noreturn]] inline void Raise(std::string message) {
  throw Error{Code::kInvalidArgument, std::move(message)};
}

struct Limits {
  int64_t steps = 100'000'000;
  int64_t bytes = int64_t{1} << 30;        // data built in one rendering, temporaries included
  size_t string_bytes = size_t{16} << 20;  // length of any string, the output included
  int depth = 600;  // nesting of expressions, statements and macro calls while they run
};

// Returns a * b, or SIZE_MAX on overflow.
inline size_t SaturatingProduct(size_t a, size_t b) {
  size_t product;
  return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

class Budget {
 public:
  explicit Budget(const Limits& limits)
      : limits_(limits), steps_left_(limits.steps), bytes_left_(limits.bytes) {}

  const Limits& limits() const { return limits_; }

  // Charges `count` steps. This and the other charges throw kResourceExhausted when the limit is exceeded.
  void Steps(size_t count) {
    steps_left_ -= static_cast<int64_t>(std::min(count, size_t{1} << 60));
    if (steps_left_ < 0) Exhausted("steps", limits_.steps);
  }
  // Charges reading `bytes` bytes of text, `times` times over.
  void Scan(size_t bytes, size_t times = 1) { Steps(SaturatingProduct(bytes, times) / 16); }
  // Charges `count` bytes of newly built data.
  void Bytes(size_t count) {
    bytes_left_ -= static_cast<int64_t>(std::min(count, size_t{1} << 60));
    if (bytes_left_ < 0) Exhausted("bytes of values", limits_.bytes);
  }
  // Checks the size of a string before it is built. `size` may be a saturated product.
  void StringSize(size_t size) const {
    if (size > limits_.string_bytes)
      Exhausted("bytes in one string", static_cast<int64_t>(limits_.string_bytes));
  }

  [[noreturn]] static void Exhausted(const char* what, int64_t limit) {
    throw Error{Code::kResourceExhausted,
                "the chat template needs more than " + std::to_string(limit) + " " + what};
  }

 private:
  const Limits limits_;
  int64_t steps_left_;
  int64_t bytes_left_;
};

}  // namespace prefixd::jinja
