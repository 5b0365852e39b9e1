// Nfa and Subsets: from the fragments of one rule to its deterministic automaton, by the subset construction
// (Rabin and Scott, 1959), in which the call of a rule is a symbol like a byte. One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "grammar/byte_automaton.h"

namespace prefixd::grammar {

struct CallEdge {
  uint32_t callee;  // a number that the caller knows
  uint32_t to;
};

// A nondeterministic automaton with empty edges.
struct Nfa {
  struct State {
    std::vector<uint32_t> empty;
    std::vector<ByteEdge> bytes;
    std::vector<CallEdge> calls;
  };
  std::vector<State> states;
  size_t edges = 0;

  // What it takes, in states and edges.
  size_t size() const { return states.size() + edges; }
  void Clear() {
    states.clear();
    edges = 0;
  }
  uint32_t Add() {
    states.emplace_back();
    return static_cast<uint32_t>(states.size() - 1);
  }
  // A new state with empty edges, or with one edge of bytes.
  uint32_t Before(std::vector<uint32_t> to) {
    const uint32_t id = Add();
    edges += to.size();
    states[id].empty = std::move(to);
    return id;
  }
  uint32_t BeforeByte(uint8_t low, uint8_t high, uint32_t to) {
    const uint32_t id = Add();
    AddBytes(id, {low, high, to});
    return id;
  }
  void AddEmpty(uint32_t from, uint32_t to) {
    ++edges;
    states[from].empty.push_back(to);
  }
  void AddBytes(uint32_t from, const ByteEdge& edge) {
    ++edges;
    states[from].bytes.push_back(edge);
  }
  void AddCall(uint32_t from, const CallEdge& edge) {
    ++edges;
    states[from].calls.push_back(edge);
  }
};

struct SubsetState {
  std::vector<ByteEdge> bytes;  // disjoint, ascending
  std::vector<CallEdge> calls;  // by callee, each once
  bool is_final = false;
};

// The deterministic automaton of an Nfa. State 0 is the start, which no edge enters, and which is not final:
// the empty text does not count.
class Subsets {
 public:
  // `work` is what may still be looked at, in members of sets and edges; it falls.
  Subsets(const Nfa& nfa, uint32_t start, uint32_t end, size_t most_states, size_t* work);
  // kResourceExhausted.
  Result<std::vector<SubsetState>> Run();

 private:
  using Set = std::vector<uint32_t>;  // sorted
  struct SetHash {
    size_t operator()(const Set& set) const;
  };
  Set Closure(Set from);
  uint32_t IdOf(const Set& set);
  void Expand(uint32_t id);
  void Spend(size_t work) { *work_ -= std::min(*work_, work); }

  const Nfa& nfa_;
  const uint32_t end_;
  const size_t most_states_;
  size_t* const work_;
  std::unordered_map<Set, uint32_t, SetHash> ids_;
  std::vector<const Set*> sets_;
  Set start_;
  std::vector<SubsetState> states_;
  std::vector<uint32_t> seen_;  // by state of the Nfa: the closure that has it
  uint32_t closures_ = 0;
};

}  // namespace prefixd::grammar
