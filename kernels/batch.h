// The tokens of one step, by sequence. Plain values; any thread.
//
// A token below 0 is not known yet: -1 - i is the token that logit row i of the step launched before draws.
#pragma once

#include <span>

#include "base/types.h"

namespace prefixd {

// The rows of one sequence in a step: consecutive tokens at consecutive positions.
struct SequenceSpan {
  int first_row;                    // index of its first row in the step
  int rows;                         // > 0
  int position;                     // of first_row; `blocks` holds the KV of all earlier positions
  std::span<const BlockId> blocks;  // block table; covers position + rows tokens
};

// `sequences` cover the rows 0 .. rows()-1 in order without gaps.
constexpr TokenId TokenDrawnBy(int logit_row) { return -1 - logit_row; }
struct BatchView {
  std::span<const TokenId> tokens;  // [rows]
  std::span<const SequenceSpan> sequences;
  int rows() const { return static_cast<int>(tokens.size()); }
};

}  // namespace prefixd
