// Template source to tokens, by the rules of Jinja2 3.1 with trim_blocks and lstrip_blocks on, as
// transformers sets them: one newline after a statement or comment goes; so does the blank space between the
// start of a line and one; "-" at a delimiter strips all white space on its side, "+" keeps what would go.
// CRLF reads as LF, one newline at the end is dropped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/budget.h"
#include "text/jinja/text.h"

namespace prefixd::jinja {

inline constexpr size_t kMaxSourceBytes = size_t{1} << 20;

// Where something stands in the source, from 1; columns in bytes.
struct Position {
  int line = 1;
  int column = 1;
};
std::string Describe(Position at);  // "line 3, column 7"

// A syntax error, or something understood that we lack (`code`), at a place.
[[noreturn]] void FailAt(Code code, Position at, const std::string& message);

struct Token {
  enum class Kind {
    kData,           // `text` is template text to copy
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kName,           // `text` is the identifier; keywords are names too
    kString,         // `text` is the value, escapes decoded
    kInteger,        // `integer`
    kFloat,          // `real`
    kOperator,       // `text` is the operator
    kEnd,
  };
  Kind kind;
  Position at;
  std::string text;
  Int integer = 0;
  double real = 0;
};

// All tokens of `source`, kEnd last. Throws Error.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace prefixd::jinja
