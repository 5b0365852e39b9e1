// Ranks the sequences of a prompt for `best_of`. Pure; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace prefixd {

struct ChoiceScore {
  double logprob_sum = 0;  // of its tokens
  int tokens = 0;
  // The mean log probability per token; 0 without tokens.
  double mean() const;
};

// The indices of the `n` best scores, best first, ordered by mean and then by index. Returns fewer than `n`
// when there are fewer scores.
std::vector<size_t> BestChoices(std::span<const ChoiceScore> scores, size_t n);

}  // namespace prefixd
