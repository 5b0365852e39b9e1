// Which of several answers to a prompt are the best. Pure; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace prefixd {

struct ChoiceScore {
  double logprob_sum = 0;  // over its tokens
  int tokens = 0;
  // The log probability per token; of an answer without tokens 0.
  double mean() const;
};

// The indices of the `n` best, best first: by mean, where equal by index. At most as many as there are
// scores.
std::vector<size_t> BestChoices(std::span<const ChoiceScore> scores, size_t n);

}  // namespace prefixd
