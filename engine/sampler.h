// Sampler: the next token as a function of (sampling parameters, tokens so far, position, logits), and
// nothing else. Pure functions; any thread.
//
// The order is that of vLLM V1:
//   0. Log probabilities are those of the logits as the model gave them (WithLogprobs).
//   1. Banned tokens are out.
//   2. logit_bias, then repetition, frequency and presence penalties (engine/logit_adjustment.h).
//   3. temperature 0 takes the largest logit. Otherwise weights are e^((logit - largest) / temperature), in
//      float; below e^-87 they are 0.
//   4. min_p keeps weights of at least min_p; then top_k the likeliest k; then top_p the fewest likeliest
//      that reach its share of what is left. The likeliest token of all is always kept.
//   5. The draw walks the kept tokens by ascending id with one uniform number, RandomAt(seed, position).
// Ties go to the lower token id. A logit that is NaN counts as -inf; a token of -inf is drawn only where
// there is nothing else. All arithmetic is IEEE multiplication, addition and division in a fixed order, sums
// by ascending id, so that the same logits give the same token on every machine.
#pragma once

#include <span>

#include "engine/request.h"
#include "engine/token_counts.h"

namespace prefixd {

// `counts`: of the sequence so far, as far as a penalty asks for it. `position` is the index
// that the token will have in its sequence. `banned`: cannot be drawn (end tokens before min_tokens); those
// outside the vocabulary do not matter. When every token is banned the ban is ignored: something must be
// drawn. logits: [vocab], not empty.
TokenId SampleToken(const SamplingParams& params, const TokenCounts& counts, int position,
                    std::span<const float> logits, std::span<const TokenId> banned);

// Natural logs of softmax(logits): of `token`, and of the `top` likeliest, likeliest first; never NaN. Where
// the largest logit is infinite, those that equal it share the probability.
GeneratedToken WithLogprobs(TokenId token, int top, std::span<const float> logits);

}  // namespace prefixd
