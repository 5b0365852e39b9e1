#include "grammar/byte_automaton.h"

#include <algorithm>
#include <compare>
#include <tuple>
#include <utility>

#include "grammar/expression.h"

namespace prefixd::grammar {
namespace {

std::optional<uint32_t> NextOf(const ByteAutomaton& from, uint32_t state, uint8_t byte) {
  const std::vector<ByteEdge>& edges = from.states[state].edges;
  const auto edge = std::ranges::lower_bound(edges, byte, {}, &ByteEdge::high);
  return edge != edges.end() && byte >= edge->low ? std::optional(edge->to) : std::nullopt;
}

}  // namespace

void AddByte(uint8_t byte, uint32_t to, std::vector<ByteEdge>* edges) {
  if (!edges->empty() && edges->back().to == to && edges->back().high + 1 == byte) {
    edges->back().high = byte;
  } else {
    edges->push_back({byte, byte, to});
  }
}

bool ByteAutomaton::Matches(std::string_view text) const {
  if (empty()) return false;
  uint32_t state = 0;
  for (const char c : text) {
    const auto next = NextOf(*this, state, static_cast<uint8_t>(c));
    if (!next) return false;
    state = *next;
  }
  return states[state].is_final;
}

ByteAutomaton Trimmed(const ByteAutomaton& from) {
  const size_t count = from.states.size();
  std::vector<std::vector<uint32_t>> before(count);
  std::vector<bool> lives(count);
  std::vector<uint32_t> found;
  for (uint32_t id = 0; id < count; ++id) {
    for (const ByteEdge& edge : from.states[id].edges) before[edge.to].push_back(id);
    if (!from.states[id].is_final) continue;
    lives[id] = true;
    found.push_back(id);
  }
  while (!found.empty()) {
    const uint32_t id = found.back();
    found.pop_back();
    for (const uint32_t one : before[id]) {
      if (lives[one]) continue;
      lives[one] = true;
      found.push_back(one);
    }
  }
  ByteAutomaton to;
  if (count == 0 || !lives[0]) return to;
  std::vector<uint32_t> ids(count);
  for (uint32_t id = 0, next = 0; id < count; ++id) ids[id] = lives[id] ? next++ : 0;
  for (uint32_t id = 0; id < count; ++id) {
    if (!lives[id]) continue;
    ByteAutomaton::State& state = to.states.emplace_back();
    state.is_final = from.states[id].is_final;
    for (const ByteEdge& edge : from.states[id].edges)
      if (lives[edge.to]) state.edges.push_back({edge.low, edge.high, ids[edge.to]});
  }
  return to;
}

Result<ByteAutomaton> Intersection(const ByteAutomaton& a, const ByteAutomaton& b, AutomatonBudget* budget) {
  if (a.empty() || b.empty()) return ByteAutomaton();
  using Pair = std::pair<uint32_t, uint32_t>;
  return Explore<Pair>(
      [&](const Pair& at, uint8_t byte) -> std::optional<Pair> {
        const auto in_a = NextOf(a, at.first, byte);
        const auto in_b = in_a ? NextOf(b, at.second, byte) : std::nullopt;
        return in_b ? std::optional<Pair>({*in_a, *in_b}) : std::nullopt;
      },
      [&](const Pair& at) { return a.states[at.first].is_final && b.states[at.second].is_final; }, budget);
}

Result<ByteAutomaton> WithLength(const ByteAutomaton& from, uint32_t min, uint32_t max,
                                 AutomatonBudget* budget) {
  if (from.empty()) return ByteAutomaton();
  struct At {
    uint32_t state = 0;
    uint32_t count = 0;
    int escape = 0;  // bytes of an escape that are to come; -1: the one that says how many
    auto operator<=>(const At&) const = default;
  };
  return Explore<At>(
      [&](At at, uint8_t byte) -> std::optional<At> {
        const auto next = NextOf(from, at.state, byte);
        if (!next) return std::nullopt;
        at.state = *next;
        if (at.escape != 0) {
          at.escape = at.escape > 0 ? at.escape - 1 : byte == 'u' ? 4 : 0;
          return at;
        }
        if (byte == '\\') at.escape = -1;
        const bool begins = (byte & 0xC0) != 0x80;
        if (begins && max != kUnbounded && at.count == max) return std::nullopt;
        if (begins && (max != kUnbounded || at.count < min)) ++at.count;
        return at;
      },
      [&](const At& at) { return from.states[at.state].is_final && at.count >= min; }, budget);
}

}  // namespace prefixd::grammar
