// Random texts of a grammar, for tests: a walk over the bytes that may come next. One thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "grammar/grammar.h"
#include "grammar/match.h"

namespace prefixd::grammar::testing_support {

inline bool Matches(const Grammar& grammar, const std::string& text) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  for (const char c : text) {
    matcher.Advance(state, static_cast<uint8_t>(c), &next);
    std::swap(state, next);
  }
  return state.accepts();
}

// A text that matches. It ends where it may with probability `ends`. A byte that leads somewhere alone, as
// a quote that ends a string does, is likelier, so that texts are short. "" after 5,000 bytes.
inline std::string RandomText(const Grammar& grammar, Prng& prng, double ends = 0.5) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  std::string text;
  while (text.size() < 5000) {
    if (state.complete() || (state.accepts() && prng.Chance(ends))) return text;
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < state.stacks(); ++i) {
      for (const ByteEdge& edge : grammar.edges(state.stack(i).back().state)) {
        for (unsigned byte = edge.low; byte <= edge.high; ++byte)
          bytes.insert(bytes.end(), edge.low == edge.high ? 100 : 1, static_cast<uint8_t>(byte));
      }
    }
    text += static_cast<char>(bytes[prng.Below(bytes.size())]);
    matcher.Advance(state, static_cast<uint8_t>(text.back()), &next);
    std::swap(state, next);
  }
  return "";
}

}  // namespace prefixd::grammar::testing_support
