// ExpressionFacts: what compiling needs to know of every node of Expressions. A value; one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "grammar/expression.h"

namespace prefixd::grammar {

class ExpressionFacts {
 public:
  // Takes time linear in the nodes. `from` outlives it.
  explicit ExpressionFacts(const Expressions& from);

  // Whether the empty text matches.
  bool IsNullable(ExprId id) const { return nullable_[id]; }
  // About how many states it takes, without the rules that it calls; saturates.
  uint32_t SizeOf(ExprId id) const { return size_[id]; }
  // Whether a repetition is written out, rather than counted while it is matched.
  bool IsWrittenOut(ExprId repeat) const;

 private:
  void FindNullable();
  uint32_t Measure(const Expr& expr) const;

  const Expressions& from_;
  std::vector<bool> nullable_;
  std::vector<uint32_t> size_;
};

}  // namespace prefixd::grammar
