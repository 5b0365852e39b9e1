// PREFIXD_CHECK(condition) << "detail": aborts when `condition` is false, because going on after a bug of
// prefixd could serve wrong results. It is on in every build, release builds too. It prints the condition,
// the file and line, and the detail to stderr. It must not test input from outside; report that as a Status.
// Any thread.
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

#define PREFIXD_CHECK(condition)         \
  (__builtin_expect(!!(condition), 1))   \
      ? (void)0                          \
      : ::prefixd::internal::Voidify() & \
            ::prefixd::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
