#include "engine/logit_adjustment.h"

namespace prefixd {

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

bool ChangesLogits(const SamplingParams& params) {
  return !params.logit_bias.empty() || HasPenalties(params);
}

void AdjustLogits(const SamplingParams& params, const TokenCounts& counts, std::span<float> logits) {
  for (const LogitBias& bias : params.logit_bias) logits[static_cast<size_t>(bias.token)] += bias.bias;
  if (!HasPenalties(params)) return;
  for (const TokenCounts::Entry& entry : counts.entries()) {
    float& logit = logits[static_cast<size_t>(entry.token)];
    logit = logit > 0.0f ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (entry.generated == 0) continue;
    logit -= params.frequency_penalty * static_cast<float>(entry.generated);
    logit -= params.presence_penalty;
  }
}

}  // namespace prefixd
