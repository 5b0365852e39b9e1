// Characters: how a text stands in the answer: as it is, or between the quotes of a JSON string, where '"',
// '\' and control characters are escaped, each in one way. The readers of regexes write through it. One
// thread.
#pragma once

#include <string_view>

#include "grammar/code_points.h"
#include "grammar/expression.h"

namespace prefixd::grammar {

class Characters {
 public:
  enum class In : uint8_t { kText, kJsonString };

  // `to` outlives it.
  Characters(Expressions* to, In in) : to_(*to), in_(in) {}

  Expressions& to() const { return to_; }
  // One code point of a normal set.
  ExprId OneOf(const CodePointSet& set) const;
  ExprId Any() const { return OneOf({{0, kLastCodePoint}}); }
  ExprId Literal(std::string_view utf8) const;

 private:
  Expressions& to_;
  const In in_;
};

}  // namespace prefixd::grammar
