#include "grammar/forced_run.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "grammar/code_points.h"

namespace prefixd::grammar {
std::string NextBytes(const Grammar& grammar, const MatchState& state, size_t most) {
  if (state.accepts()) return {};
  std::string bytes;
  for (size_t i = 0; i < state.stacks(); ++i) {
    for (const ByteEdge& edge : grammar.edges(state.stack(i).back().state)) {
      for (unsigned byte = edge.low; byte <= edge.high; ++byte) {
        if (bytes.find(static_cast<char>(byte)) != std::string::npos) continue;
        if (bytes.size() == most) return {};
        bytes += static_cast<char>(byte);
      }
    }
  }
  return bytes;
}

std::string TakeForcedText(const Grammar& grammar, size_t most, MatchState* state) {
  Matcher matcher(&grammar);
  MatchState next;
  std::string text;
  while (text.size() < most) {
    const std::string byte = NextBytes(grammar, *state, 1);
    if (byte.empty()) break;
    matcher.Advance(*state, static_cast<uint8_t>(byte[0]), &next);
    std::swap(*state, next);
    text += byte;
  }
  return text;
}

ForcedRun FindForcedRun(const Grammar& grammar, const Vocabulary& vocabulary, const MatchState& state,
                        std::span<const TokenId> before) {
  ForcedRun run;
  MatchState at = state;
  std::string text = TakeForcedText(grammar, kMostForcedBytes, &at);
  // A code point of which only the beginning is known is encoded with what follows.
  text.resize(CompleteBytes(text));
  run.tokens = vocabulary.Encode(text, before);
  if (run.tokens.empty() || at.complete()) return run;
  run.rest = vocabulary.text(run.tokens.back());
  run.tokens.pop_back();
  return run;
}

}  // namespace prefixd::grammar
