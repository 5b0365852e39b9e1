// RandomRequest: requests with every kind of sampling, for the tests of steps in flight. Pure; any thread.
#pragma once

#include <utility>
#include <vector>

#include "base/prng.h"
#include "engine/request.h"
#include "tests/support/tiny_constraint.h"

namespace prefixd {

// For a vocabulary of 64 tokens; without a listener. It ends with a stop token as often as with its length.
inline Request RandomRequest(Prng& prng, std::vector<TokenId> prompt) {
  Request request;
  request.prompt = std::move(prompt);
  SamplingParams& sampling = request.sampling;
  sampling.temperature = prng.Chance(0.4) ? 0.0f : 1.2f;
  sampling.seed = prng.Below(3);
  sampling.max_tokens = static_cast<int>(prng.Between(1, 40));
  if (prng.Chance(0.3)) sampling.top_p = 0.8f;
  if (prng.Chance(0.3)) sampling.min_tokens = static_cast<int>(prng.Between(1, 20));
  if (prng.Chance(0.3)) sampling.repetition_penalty = 1.3f;
  if (prng.Chance(0.3)) sampling.presence_penalty = 0.7f;
  if (prng.Chance(0.3)) sampling.frequency_penalty = 0.4f;
  if (prng.Chance(0.3)) sampling.logit_bias = {{static_cast<TokenId>(prng.Below(64)), 2.0f}};
  if (prng.Chance(0.3)) sampling.stop_token_ids = {static_cast<TokenId>(prng.Below(64))};
  if (prng.Chance(0.3)) sampling.logprobs = static_cast<int>(prng.Below(prng.Chance(0.2) ? 64 : 4));
  sampling.ignore_eos = prng.Chance(0.3);
  if (prng.Chance(0.15))
    request.constraint = testing_support::TinyConstraint(prng.Below(testing_support::kTinyConstraints));
  return request;
}

}  // namespace prefixd
