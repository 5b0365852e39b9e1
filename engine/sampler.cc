#include "engine/sampler.h"

#include "base/check.h"

namespace prefixd {

SampleRow SampleRowOf(const SamplingParams& params, const TokenCounts& counts, int position,
                      std::span<const TokenId> banned, std::span<const uint32_t> allowed) {
  PREFIXD_CHECK(position >= 0) << position;
  return {.params = {.temperature = params.temperature,
                     .top_p = params.top_p,
                     .top_k = params.top_k,
                     .min_p = params.min_p,
                     .seed = params.seed,
                     .position = static_cast<uint32_t>(position)},
          .changes = {.bias = params.logit_bias,
                      .repetition_penalty = params.repetition_penalty,
                      .frequency_penalty = params.frequency_penalty,
                      .presence_penalty = params.presence_penalty,
                      .counts = counts.entries()},
          .banned = banned,
          .allowed = allowed};
}

}  // namespace prefixd
