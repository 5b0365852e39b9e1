// Ranks the sequences of a prompt for `best_of`. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace prefixd {

struct ChoiceScore {
  double logprob_sum = 0;  // of the tokens of the sequence
  int tokens = 0;          // number of tokens of the sequence
  // Returns the mean log probability per token: 0 without tokens, minus infinity when the sum is NaN.
  double mean() const;
};

// Returns the indices of the `n` scores with the highest means, highest first. Of equal means the lower index
// comes first. Returns all indices when there are fewer than `n` scores.
std::vector<size_t> BestChoices(std::span<const ChoiceScore> scores, size_t n);

}  // namespace prefixd
