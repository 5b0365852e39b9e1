// ByteAutomaton: a deterministic automaton over bytes, for parts of a grammar that are easier to compute than
// to write: numbers in a range, the intersection of two patterns. Plain values; pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace prefixd::grammar {

struct ByteEdge {
  uint8_t low, high;  // both included
  uint32_t to;
};

// Adds the next byte to ascending edges, which join where their states are equal.
void AddByte(uint8_t byte, uint32_t to, std::vector<ByteEdge>* edges);

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

// What automata that are made for the same grammar may still take together, in states and edges. It falls,
// also by what is trimmed in the end.
struct AutomatonBudget {
  size_t left = 1 << 19;
  bool Spend(size_t more) {
    const bool is_within = more <= left;
    left = is_within ? left - more : 0;
    return is_within;
  }
};

// The texts that are in both. kResourceExhausted: the budget.
Result<ByteAutomaton> Intersection(const ByteAutomaton& a, const ByteAutomaton& b, AutomatonBudget* budget);

// The texts of `from` with min .. max characters, as Characters writes them between the quotes of a JSON
// string: an escape is one character. kResourceExhausted: the budget.
Result<ByteAutomaton> WithLength(const ByteAutomaton& from, uint32_t min, uint32_t max,
                                 AutomatonBudget* budget);

// Makes an automaton from what a program remembers of the bytes so far. `State` is ordered and begins with
// State(); `next(state, byte)` is the state after a byte, or nothing where no text goes on; `is_final(state)`
// says whether a text may end. kResourceExhausted: the budget.
template <typename State, typename Next, typename IsFinal>
Result<ByteAutomaton> Explore(const Next& next, const IsFinal& is_final, AutomatonBudget* budget) {
  std::map<State, uint32_t> ids = {{State(), 0}};
  std::vector<State> states = {State()};
  ByteAutomaton to;
  for (size_t i = 0; i < states.size(); ++i) {
    const State from = states[i];
    ByteAutomaton::State& state = to.states.emplace_back();
    state.is_final = is_final(from);
    std::optional<State> last;  // after the byte before: most bytes lead where that one did
    uint32_t to_last = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::optional<State> after = next(from, static_cast<uint8_t>(byte));
      if (!after) continue;
      if (after != last) {
        const auto [at, is_new] = ids.try_emplace(*after, static_cast<uint32_t>(states.size()));
        if (is_new) states.push_back(*after);
        last = after;
        to_last = at->second;
      }
      AddByte(static_cast<uint8_t>(byte), to_last, &state.edges);
    }
    if (!budget->Spend(1 + state.edges.size()))
      return ResourceExhausted("its patterns, lengths and ranges take more states than a grammar may have");
  }
  return Trimmed(to);
}

}  // namespace prefixd::grammar
