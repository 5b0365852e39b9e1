#include "grammar/forced_run.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace prefixd::grammar {
namespace {

// The byte that must come next.
std::optional<uint8_t> OnlyByte(const Grammar& grammar, const MatchState& state) {
  if (state.accepts()) return std::nullopt;
  std::optional<uint8_t> only;
  for (size_t i = 0; i < state.stacks(); ++i) {
    for (const ByteEdge& edge : grammar.edges(state.stack(i).back().state)) {
      if (edge.low != edge.high || (only && *only != edge.low)) return std::nullopt;
      only = edge.low;
    }
  }
  return only;
}

// Without the beginning of a code point at the end.
size_t CompleteBytes(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte < 0xC0 || byte > 0xF4 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace

ForcedRun FindForcedRun(const Grammar& grammar, const Vocabulary& vocabulary, const MatchState& state) {
  ForcedRun run;
  Matcher matcher(&grammar);
  MatchState at = state, next;
  std::string text;
  while (text.size() < kMostForcedBytes) {
    const std::optional<uint8_t> byte = OnlyByte(grammar, at);
    if (!byte) break;
    matcher.Advance(at, *byte, &next);
    std::swap(at, next);
    text += static_cast<char>(*byte);
  }
  // A code point of which only the beginning is known is encoded with what follows.
  text.resize(CompleteBytes(text));
  run.tokens = vocabulary.Encode(text);
  if (run.tokens.empty() || at.complete()) return run;
  run.rest = vocabulary.text(run.tokens.back());
  run.tokens.pop_back();
  return run;
}

}  // namespace prefixd::grammar
