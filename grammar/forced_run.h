// ForcedRun: the tokens of a text about which a grammar leaves no choice, such as the names of properties
// that are required. Many tokens would do: the run has those that encoding the text gives, because the model
// knows texts by these, and because a prompt that has the answer again is then encoded to the same tokens. A
// pure function.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/vocabulary.h"

namespace prefixd::grammar {

struct ForcedRun {
  std::vector<TokenId> tokens;  // that must come next
  // The text of a token that also must come next, but may be the beginning of a longer one. No shorter token
  // may begin it. Empty: anything may come that matches.
  std::string rest;
};

// The bytes one of which must come next; none where these are more than `most`, or the text may end.
std::string NextBytes(const Grammar& grammar, const MatchState& state, size_t most);
// The text that must come next, up to `most` bytes. Goes on by it.
std::string TakeForcedText(const Grammar& grammar, size_t most, MatchState* state);

// The run has at most kMostForcedBytes bytes. It is empty where the vocabulary cannot encode its text.
// `before` are the tokens that it follows, the last ones of them at least.
inline constexpr size_t kMostForcedBytes = 256;
ForcedRun FindForcedRun(const Grammar& grammar, const Vocabulary& vocabulary, const MatchState& state,
                        std::span<const TokenId> before = {});

}  // namespace prefixd::grammar
