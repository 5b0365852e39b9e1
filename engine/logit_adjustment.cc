#include "engine/logit_adjustment.h"

#include "base/check.h"

namespace prefixd {
namespace {

float& LogitOf(TokenId token, std::span<float> logits) {
  PREFIXD_CHECK(token >= 0 && static_cast<size_t>(token) < logits.size()) << token << " of " << logits.size();
  return logits[static_cast<size_t>(token)];
}

}  // namespace

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

bool ChangesLogits(const SamplingParams& params) {
  return !params.logit_bias.empty() || HasPenalties(params);
}

void AdjustLogits(const SamplingParams& params, const TokenCounts& counts, std::span<float> logits) {
  for (const LogitBias& bias : params.logit_bias) LogitOf(bias.token, logits) += bias.bias;
  if (!HasPenalties(params)) return;
  for (const TokenCounts::Entry& entry : counts.entries()) {
    float& logit = LogitOf(entry.token, logits);
    logit = logit > 0.0f ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (entry.generated == 0) continue;
    logit -= params.frequency_penalty * static_cast<float>(entry.generated);
    logit -= params.presence_penalty;
  }
}

}  // namespace prefixd
