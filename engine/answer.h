// AppendTokens: one more token of an answer, and what follows from it without a step. Engine thread only.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/request.h"
#include "engine/sequence.h"

namespace prefixd {

struct AnswerLimits {
  std::span<const TokenId> eos;  // of the model
  int context = 0;
};

struct AppendedTokens {
  std::vector<GeneratedToken> tokens;  // the drawn one, and those that are forced (Sequence::forced)
  std::optional<FinishReason> ending;  // the answer ends with the last of them
  int forced() const { return static_cast<int>(tokens.size()) - 1; }
};

// Appends a token that was drawn, and those after it that are forced, up to kMostForced at a time: the next
// step computes the KV of all of them at once. The mask of the token that comes then is set, unless the
// answer ends.
inline constexpr int kMostForced = 256;
AppendedTokens AppendTokens(Sequence& sequence, GeneratedToken drawn, const AnswerLimits& limits);

}  // namespace prefixd
