// ForcedRun: the tokens of a text about which a grammar leaves no choice, such as the names of properties
// that are required. Many tokens would do: the run has those that encoding the text gives, because the model
// knows texts by these, and because a prompt that has the answer again is then encoded to the same tokens. A
// pure function.
#pragma once

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

// The run has at most kMostForcedBytes bytes. It is empty where the vocabulary cannot encode its text.
inline constexpr size_t kMostForcedBytes = 256;
ForcedRun FindForcedRun(const Grammar& grammar, const Vocabulary& vocabulary, const MatchState& state);

}  // namespace prefixd::grammar
