// Logit adjustment: what a request asks to be changed in the logits before a token is drawn from them. Pure
// functions; any thread.
//
//   1. logit_bias is added.
//   2. repetition_penalty p, for each distinct token of prompt and answer: a positive logit is divided by p,
//      another multiplied.
//   3. frequency_penalty times the number of times that the answer has the token, and presence_penalty once
//      if it has it, are subtracted, in this order.
// All in float, a token by itself: the order of the tokens does not show.
#pragma once

#include <span>

#include "engine/request.h"
#include "engine/token_counts.h"

namespace prefixd {

// Whether the answer's tokens must be counted; the prompt's matter to the repetition penalty alone.
bool HasPenalties(const SamplingParams& params);
// Whether AdjustLogits does anything.
bool ChangesLogits(const SamplingParams& params);

// O(biases + distinct tokens of `counts`). logits: [vocab]; all tokens of `params` and `counts` are below it.
// `counts` may be empty where HasPenalties is false.
void AdjustLogits(const SamplingParams& params, const TokenCounts& counts, std::span<float> logits);

}  // namespace prefixd
