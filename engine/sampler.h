// Sampler: the next token as a function of (sampling parameters, position, logits), and nothing else. Pure functions; any thread.
//
// Order of the filters: min_p, then top_k, then top_p, on softmax(logits / temperature); temperature 0 takes the largest logit.
// Ties go to the lower token id. The draw walks the kept tokens by ascending id with one uniform number, RandomAt(seed, position).
// All arithmetic is IEEE multiplication, addition and division in a fixed order, so that the same logits give the same token on
// every machine.
#pragma once

#include <span>

#include "engine/request.h"

namespace prefixd {

// `position` is the index that the token will have in its sequence. `banned`: cannot be drawn (end tokens before min_tokens).
// logits: [vocab]. When every token is banned the ban is ignored: something must be drawn.
TokenId SampleToken(const SamplingParams& params, int position, std::span<const float> logits,
                    std::span<const TokenId> banned);

// Natural logs of softmax(logits): of `token`, and of the `top` likeliest, likeliest first.
GeneratedToken WithLogprobs(TokenId token, int top, std::span<const float> logits);

}  // namespace prefixd
