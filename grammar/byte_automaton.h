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

// The texts that are in both. kResourceExhausted: more than `most_states` states.
Result<ByteAutomaton> Intersection(const ByteAutomaton& a, const ByteAutomaton& b, size_t most_states);

// The texts of `from` with min .. max characters, as Characters writes them between the quotes of a JSON
// string: an escape is one character. kResourceExhausted: more than `most_states` states.
Result<ByteAutomaton> WithLength(const ByteAutomaton& from, uint32_t min, uint32_t max, size_t most_states);

// Makes an automaton from what a program remembers of the bytes so far. `State` is ordered and begins with
// State(); `next(state, byte)` is the state after a byte, or nothing where no text goes on; `is_final(state)`
// says whether a text may end. kResourceExhausted: more than `most_states` states.
template <typename State, typename Next, typename IsFinal>
Result<ByteAutomaton> Explore(const Next& next, const IsFinal& is_final, size_t most_states) {
  std::map<State, uint32_t> ids = {{State(), 0}};
  std::vector<State> states = {State()};
  ByteAutomaton to;
  for (size_t i = 0; i < states.size(); ++i) {
    const State from = states[i];
    ByteAutomaton::State& state = to.states.emplace_back();
    state.is_final = is_final(from);
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::optional<State> after = next(from, static_cast<uint8_t>(byte));
      if (!after) continue;
      const auto [at, is_new] = ids.try_emplace(*after, static_cast<uint32_t>(states.size()));
      if (is_new) states.push_back(*after);
      AddByte(static_cast<uint8_t>(byte), at->second, &state.edges);
    }
    if (states.size() > most_states) return ResourceExhausted("it takes more states than a grammar may have");
  }
  return Trimmed(to);
}

}  // namespace prefixd::grammar
