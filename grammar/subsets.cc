#include "grammar/subsets.h"

#include <algorithm>
#include <array>
#include <map>

namespace prefixd::grammar {

size_t Subsets::SetHash::operator()(const Set& set) const {
  uint64_t hash = 0x9E3779B97F4A7C15u;
  for (const uint32_t member : set) {
    hash = (hash ^ member) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
  return hash;
}

Subsets::Subsets(const Nfa& nfa, uint32_t start, uint32_t end, size_t most_states, size_t* work)
    : nfa_(nfa), end_(end), most_states_(most_states), work_(work), seen_(nfa.states.size(), 0) {
  start_ = Closure({start});
  sets_.push_back(&start_);
  states_.emplace_back();
}

// All states that the empty text reaches.
Subsets::Set Subsets::Closure(Set from) {
  ++closures_;
  Set out;
  for (const uint32_t state : from) seen_[state] = closures_;
  while (!from.empty()) {
    const uint32_t state = from.back();
    from.pop_back();
    out.push_back(state);
    Spend(1 + nfa_.states[state].empty.size());
    for (const uint32_t to : nfa_.states[state].empty) {
      if (seen_[to] == closures_) continue;
      seen_[to] = closures_;
      from.push_back(to);
    }
  }
  // Only states with edges of their own tell sets apart, and the end.
  std::erase_if(out, [this](uint32_t state) {
    return state != end_ && nfa_.states[state].bytes.empty() && nfa_.states[state].calls.empty();
  });
  std::sort(out.begin(), out.end());
  return out;
}

uint32_t Subsets::IdOf(const Set& set) {
  const auto [at, is_new] = ids_.try_emplace(set, static_cast<uint32_t>(states_.size()));
  if (!is_new) return at->second;
  sets_.push_back(&at->first);
  states_.emplace_back().is_final = std::binary_search(set.begin(), set.end(), end_);
  return at->second;
}

void Subsets::Expand(uint32_t id) {
  const Set& set = *sets_[id];
  size_t byte_edges = 0;
  std::array<bool, 257> begins{};  // where the targets change
  std::map<uint32_t, Set> called;
  for (const uint32_t member : set) {
    for (const ByteEdge& edge : nfa_.states[member].bytes) begins[edge.low] = begins[edge.high + 1u] = true;
    for (const CallEdge& call : nfa_.states[member].calls) called[call.callee].push_back(call.to);
    byte_edges += nfa_.states[member].bytes.size();
  }
  const auto unique = [](Set* targets) {
    std::sort(targets->begin(), targets->end());
    targets->erase(std::unique(targets->begin(), targets->end()), targets->end());
  };
  std::vector<ByteEdge> edges;
  for (unsigned low = 0; low < 256 && *work_ > 0;) {
    unsigned end = low + 1;
    while (end < 256 && !begins[end]) ++end;
    Set targets;
    for (const uint32_t member : set)
      for (const ByteEdge& edge : nfa_.states[member].bytes)
        if (edge.low <= low && low <= edge.high) targets.push_back(edge.to);
    Spend(set.size() + byte_edges);
    if (!targets.empty()) {
      unique(&targets);
      const uint32_t to = IdOf(Closure(std::move(targets)));
      const auto low_byte = static_cast<uint8_t>(low), high_byte = static_cast<uint8_t>(end - 1);
      if (!edges.empty() && edges.back().to == to && edges.back().high + 1u == low) {
        edges.back().high = high_byte;
      } else {
        edges.push_back({low_byte, high_byte, to});
      }
    }
    low = end;
  }
  std::vector<CallEdge> calls;
  for (auto& [callee, targets] : called) {
    if (*work_ == 0) return;  // Run reports it
    unique(&targets);
    calls.push_back({callee, IdOf(Closure(std::move(targets)))});
  }
  states_[id].bytes = std::move(edges);
  states_[id].calls = std::move(calls);
}

Result<std::vector<SubsetState>> Subsets::Run() {
  for (uint32_t id = 0; id < states_.size(); ++id) {
    Expand(id);
    if (states_.size() > most_states_ || *work_ == 0)
      return ResourceExhausted("it takes more states than a grammar may have");
  }
  return std::move(states_);
}

}  // namespace prefixd::grammar
