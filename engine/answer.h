// AppendTokens: one more token of an answer, and what follows from it without a step; and what is to be known
// when a prompt is complete or a format has no more tokens. Engine thread only.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/engine_stats.h"
#include "engine/mask_maker.h"
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
// step computes the KV of all of them at once. The mask of the token that comes then is set, or
// made, unless the answer ends.
inline constexpr int kMostForced = 256;
AppendedTokens AppendTokens(Sequence& sequence, GeneratedToken drawn, const AnswerLimits& limits,
                            MaskMaker* masks);

// Counts a prompt that is complete, once.
void CountPrompt(const Sequence& sequence, EngineStats* stats);

// How the answer ends because no token may come next, or nullopt. Sets the error of the event. Where a match
// meets its bounds, the answer is the beginning of one that matches, as at max_tokens.
std::optional<FinishReason> EndingOfFormat(const Sequence& sequence, RequestEvent* event);

}  // namespace prefixd
