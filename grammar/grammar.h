// Grammar: the texts that an answer may be, as an automaton over bytes with a stack. Each rule is a
// deterministic automaton whose edges are bytes and calls of rules; match.h runs it.
//
// Immutable once compiled; any thread.
//
// Invariants
//   1. Every state that a match reaches leads to a final state: it has no dead ends. (A match may have some,
//      where it meets its own bounds.)
//   2. No rule matches the empty text. A call of a rule that did is an edge beside a way around it.
//   3. No rule begins with a call of itself, directly or through others. So the calls that a byte needs end.
//   4. It has at most the states and edges of its GrammarLimits, and compiling takes time linear in them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "grammar/byte_automaton.h"
#include "grammar/expression.h"

namespace prefixd::grammar {

struct GrammarLimits {
  size_t nfa_size = 1 << 20;  // states and edges of the automata before they are deterministic
  size_t states = 1 << 16;
  size_t edges = 1 << 18;
  size_t work = 1 << 24;      // members of the sets of states that compiling looks at, and their edges
  bool count_repeats = true;  // false: every repetition is written out
};

using StateId = uint32_t;

class Grammar {
 public:
  // A rule that begins at `start`, after which the match goes on at `resume`; kNoState: it ends the rule that
  // calls, too.
  struct Call {
    StateId start;
    StateId resume;
  };
  static constexpr StateId kNoState = ~StateId{0};
  // A state that calls `body` from `min` to `max` times. It has no other edges, and is final from min on.
  struct Loop {
    StateId body = kNoState;  // kNoState: the state is none
    uint32_t min = 0, max = 0;
  };

  // kInvalidArgument: no text matches, or a rule begins with itself. kResourceExhausted: the limits.
  static Result<Grammar> Compile(const Expressions& from, RuleId root, const GrammarLimits& limits = {});

  // The same as an automaton without a stack, within a budget. Requires that no rule is called.
  static Result<ByteAutomaton> CompileAutomaton(const Expressions& from, RuleId root,
                                                AutomatonBudget* budget);

  StateId start() const { return start_; }
  bool matches_empty() const { return matches_empty_; }
  size_t states() const { return states_.size(); }
  bool is_final(StateId state) const { return states_[state].is_final; }
  std::span<const ByteEdge> edges(StateId state) const {
    const State& s = states_[state];
    return {edges_.data() + s.first_edge, s.edges};
  }
  std::span<const Call> calls(StateId state) const {
    const State& s = states_[state];
    return {calls_.data() + s.first_call, s.calls};
  }
  // Null where the state is no loop.
  const Loop* loop(StateId state) const {
    const uint32_t index = states_[state].loop;
    return index == kNoState ? nullptr : &loops_[index];
  }
  // The state after a byte, or kNoState.
  StateId Next(StateId state, uint8_t byte) const {
    const std::span<const ByteEdge> all = edges(state);
    const auto edge = std::ranges::lower_bound(all, byte, {}, &ByteEdge::high);
    return edge != all.end() && byte >= edge->low ? edge->to : kNoState;
  }
  // The bytes around this one that every state takes alike.
  struct Alike {
    uint8_t first, last;  // both included
  };
  Alike AlikeTo(uint8_t byte) const { return alike_[byte]; }
  size_t bytes() const;

 private:
  friend class GrammarBuilder;
  struct State {
    uint32_t first_edge = 0, first_call = 0;
    uint32_t edges = 0, calls = 0;
    uint32_t loop = kNoState;
    bool is_final = false;
  };
  std::vector<State> states_;
  std::vector<ByteEdge> edges_;
  std::vector<Call> calls_;
  std::vector<Loop> loops_;
  std::array<Alike, 256> alike_{};
  StateId start_ = 0;
  bool matches_empty_ = false;
};

}  // namespace prefixd::grammar
