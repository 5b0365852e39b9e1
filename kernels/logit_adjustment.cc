#include "kernels/logit_adjustment.h"

#include "base/check.h"

namespace prefixd {
namespace {

float& LogitOf(TokenId token, std::span<float> logits) {
  PREFIXD_CHECK(token >= 0 && static_cast<size_t>(token) < logits.size()) << token << " of " << logits.size();
  return logits[static_cast<size_t>(token)];
}

bool HasPenalties(const LogitChanges& changes) {
  return changes.repetition_penalty != 1.0f || changes.presence_penalty != 0.0f ||
         changes.frequency_penalty != 0.0f;
}

}  // namespace

bool ChangesLogits(const LogitChanges& changes) { return !changes.bias.empty() || HasPenalties(changes); }

void AdjustLogits(const LogitChanges& changes, std::span<float> logits) {
  for (const LogitBias& bias : changes.bias) LogitOf(bias.token, logits) += bias.bias;
  if (!HasPenalties(changes)) return;
  for (const TokenCount& count : changes.counts) {
    float& logit = LogitOf(count.token, logits);
    logit = logit > 0.0f ? logit / changes.repetition_penalty : logit * changes.repetition_penalty;
    if (count.generated == 0) continue;
    logit -= changes.frequency_penalty * static_cast<float>(count.generated);
    logit -= changes.presence_penalty;
  }
}

}  // namespace prefixd
