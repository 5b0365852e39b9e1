// Compiles any bytes as a grammar text. What comes out takes the bytes that it says it takes, and its masks
// are those of trying every token: the bytes of the input choose a way through it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "grammar/forced_run.h"
#include "grammar/grammar.h"
#include "grammar/grammar_text.h"
#include "grammar/match.h"
#include "grammar/token_masks.h"

namespace {

using namespace prefixd::grammar;

constexpr size_t kMostBytes = 24;  // of a way

// Each byte is a token, and some pairs of those that the input has are.
Vocabulary TokensOf(std::string_view input) {
  std::vector<std::string> texts(1);
  for (int byte = 0; byte < 255; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  for (size_t i = 0; i + 1 < std::min<size_t>(input.size(), 64); ++i)
    if (static_cast<uint8_t>(input[i]) < 255 && static_cast<uint8_t>(input[i + 1]) < 255)
      texts.emplace_back(input.substr(i, 2));
  const auto size = static_cast<int>(texts.size());
  return Vocabulary(std::move(texts), {0}, size);
}

bool Takes(Matcher& matcher, const MatchState& from, std::string_view text) {
  MatchState at = from, next;
  for (const char byte : text) {
    matcher.Advance(at, static_cast<uint8_t>(byte), &next);
    std::swap(at, next);
  }
  return !at.dead();
}

void Walk(const Grammar& grammar, std::string_view choices) {
  const Vocabulary vocabulary = TokensOf(choices);
  TokenMasks masks(&grammar, &vocabulary);
  if (!masks.Prepare()) return;
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  for (const char choice : choices.substr(0, kMostBytes)) {
    const auto mask = masks.Of(state);
    if (mask == nullptr) return;
    for (prefixd::TokenId id = 1; id < vocabulary.size(); ++id) {
      const bool is_allowed = ((*mask)[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
      PREFIXD_CHECK(is_allowed == Takes(matcher, state, vocabulary.text(id))) << id;
    }
    if (state.stacks() == 0) return;
    const auto edges = grammar.edges(state.stack(static_cast<uint8_t>(choice) % state.stacks()).back().state);
    matcher.Advance(state, edges[static_cast<uint8_t>(choice) / 2 % edges.size()].high, &next);
    std::swap(state, next);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // In memory of its size, so that a read behind its end is found.
  const std::unique_ptr<char[]> copy(new char[size]);
  std::copy_n(data, size, copy.get());
  const std::string_view text(copy.get(), size);
  Expressions expressions(1 << 14);
  const auto root = ReadGrammarText(text, &expressions);
  if (!root.ok()) {
    PREFIXD_CHECK(!root.status().message().empty());
    return 0;
  }
  const auto grammar = Grammar::Compile(
      expressions, *root, {.nfa_size = 1 << 13, .states = 1 << 12, .edges = 1 << 15, .work = 1 << 18});
  PREFIXD_CHECK(grammar.ok() || !grammar.status().message().empty());
  if (grammar.ok()) Walk(*grammar, text);
  return 0;
}
