// Splits template source into tokens, by the rules of Jinja2 3.1 with trim_blocks and lstrip_blocks on, as
// transformers sets them. Pure functions, any thread.
//
//   1. One newline directly after a statement or comment is removed.
//   2. Spaces and tabs between the start of a line and a statement or comment are removed.
//   3. "-" at a delimiter removes all white space on that side. "+" disables rules 1 and 2 there.
//   4. CR and CRLF are read as LF. One newline at the end of the source is removed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/budget.h"
#include "text/jinja/text.h"

namespace prefixd::jinja {

inline constexpr size_t kMaxSourceBytes = size_t{1} << 20;

// A place in the source. Lines and columns count from 1; columns are in bytes.
struct Position {
  int line = 1;
  int column = 1;
};
std::string Describe(Position at);  // "line 3, column 7"

// Throws an error at a place in the source. `code` is kInvalidArgument for a syntax error and kUnsupported
// for a feature that is not supported.
[[noreturn]] void FailAt(Code code, Position at, const std::string& message);

struct Token {
  enum class Kind {
    kData,           // `text` is copied to the output
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

// Returns all tokens of `source`; the last is kEnd. Throws Error.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace prefixd::jinja
