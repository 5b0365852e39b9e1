// PREFIXD_CHECK(condition) << "detail": a bug of ours that must not go on. Always on, also in release builds:
// it prints the condition, the place and the detail to stderr and aborts. Never used on what comes from outside.
#pragma once

#include <sstream>

namespace prefixd::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();  // prints and aborts
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Gives the streaming expression the type void, so that it fits the ternary below.
struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace prefixd::internal

#define PREFIXD_CHECK(condition)                \
  (__builtin_expect(!!(condition), 1))          \
      ? (void)0                                 \
      : ::prefixd::internal::Voidify() &        \
            ::prefixd::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
