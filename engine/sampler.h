// Sampler: how the next token of a sequence is drawn: as a function of (sampling parameters, tokens so far,
// position, logits) and nothing else. Pure functions; any thread.
//
// The order of the steps is that of vLLM V1:
//   0. Log probabilities are computed from the unmodified logits (kernels/logit_row.h).
//   1. Tokens that the constraint does not allow, and banned tokens, are excluded.
//   2. logit_bias, then the repetition, frequency and presence penalties apply (kernels/logit_adjustment.h).
//   3. The token is drawn as kernels/sampling.h defines it: temperature, min_p, top_k, top_p, and a race with
//      the random numbers of (seed, position, token).
// Ties go to the lower token id. A NaN logit counts as -inf. A token with a logit of -inf is drawn only when
// there is no other. The same logits give the same token on every machine, in whatever row of a step.
#pragma once

#include <span>

#include "engine/request.h"
#include "engine/token_counts.h"
#include "kernels/sampling.h"

namespace prefixd {

// Returns the row from which the next token of a sequence is drawn, without its logits. `counts` has the
// tokens of the sequence so far, as far as a penalty needs them. `position` >= 0 is the index that the token
// will have in its sequence. `banned` tokens cannot be drawn (end tokens before min_tokens); `allowed` is the
// mask of a constraint (SampleRow::allowed). All arguments must outlive the draw. Requires that the ids of
// `params` and `counts` are in the vocabulary.
SampleRow SampleRowOf(const SamplingParams& params, const TokenCounts& counts, int position,
                      std::span<const TokenId> banned, std::span<const uint32_t> allowed);

}  // namespace prefixd
