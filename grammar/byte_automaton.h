// ByteAutomaton: a deterministic automaton over bytes, for parts of a grammar that are easier to compute than
// to write: numbers in a range, the intersection of two patterns. Plain values; pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace prefixd::grammar {

struct ByteEdge {
  uint8_t low, high;  // both included
  uint32_t to;
};

struct ByteAutomaton {
  struct State {
    std::vector<ByteEdge> edges;  // disjoint, ascending
    bool is_final = false;
  };
  std::vector<State> states;  // [0] is the start; empty: no text

  bool empty() const { return states.empty(); }
  bool Matches(std::string_view text) const;
};

// Returns the automaton without the states from which no final state is reached, and those that are not
// reached; empty if nothing is left.
ByteAutomaton Trimmed(const ByteAutomaton& from);

// The texts that are in both. kResourceExhausted: more than `most_states` states.
Result<ByteAutomaton> Intersection(const ByteAutomaton& a, const ByteAutomaton& b, size_t most_states);

// The texts of valid UTF-8 in `from` with min .. max code points (max kUnbounded: any number).
// kResourceExhausted: more than `most_states` states.
Result<ByteAutomaton> WithLength(const ByteAutomaton& from, uint32_t min, uint32_t max, size_t most_states);

// The texts of `from` as they are written between the quotes of a JSON string: '"', '\' and control
// characters are escaped, everything else stands for itself.
ByteAutomaton JsonEscaped(const ByteAutomaton& from);

// Makes an automaton from a function: `next(state, byte)` is the state after a byte, or below 0 where no
// text goes on, and `is_final(state)` whether a text may end. States are numbers from 0, the start, to
// `states` - 1.
ByteAutomaton FromTable(int states, const std::function<int(int, uint8_t)>& next,
                        const std::function<bool(int)>& is_final);

}  // namespace prefixd::grammar
