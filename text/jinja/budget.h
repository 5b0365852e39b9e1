// What a template may spend, and how code of the Jinja room gives up.
//
// Inside this room errors travel as the exception jinja::Error: an interpreter is recursive through and
// through, and every operator can fail. Template::Parse and Template::Render (template.h) catch it and
// return a Status; nothing throws beyond them. A Budget belongs to one rendering, hence to one thread.
//
// Invariants
//   1. Every expression and statement that is evaluated costs a step; what scans or builds data costs in
//   proportion.
//   2. No string is longer than Limits::string_bytes, and all that was ever built in one rendering is at most
//   Limits::bytes.
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

// A run-time error of the template: wrong types, undefined values, raise_exception.
[[noreturn]] inline void Raise(std::string message) {
  throw Error{Code::kInvalidArgument, std::move(message)};
}

struct Limits {
  int64_t steps = 100'000'000;
  int64_t bytes = int64_t{1} << 30;        // built in one rendering, temporaries included
  size_t string_bytes = size_t{16} << 20;  // the longest string; the output is one
  int depth = 600;  // expressions and statements inside one another, macro calls included
};

// a * b, or the largest size_t where that overflows.
inline size_t SaturatingProduct(size_t a, size_t b) {
  size_t product;
  return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

class Budget {
 public:
  explicit Budget(const Limits& limits)
      : limits_(limits), steps_left_(limits.steps), bytes_left_(limits.bytes) {}

  const Limits& limits() const { return limits_; }

  void Steps(size_t count) {
    steps_left_ -= static_cast<int64_t>(std::min(count, size_t{1} << 60));
    if (steps_left_ < 0) Exhausted("steps", limits_.steps);
  }
  // What reads through text without building any; `times` where it does so again and again.
  void Scan(size_t bytes, size_t times = 1) { Steps(SaturatingProduct(bytes, times) / 16); }
  void Bytes(size_t count) {
    bytes_left_ -= static_cast<int64_t>(std::min(count, size_t{1} << 60));
    if (bytes_left_ < 0) Exhausted("bytes of values", limits_.bytes);
  }
  // Called before a string of `size` bytes exists; `size` may be a product that saturated.
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
