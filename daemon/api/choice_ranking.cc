#include "daemon/api/choice_ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace prefixd {

double ChoiceScore::mean() const {
  if (tokens == 0) return 0;
  const double mean = logprob_sum / tokens;
  return std::isnan(mean) ? -std::numeric_limits<double>::infinity() : mean;
}

std::vector<size_t> BestChoices(std::span<const ChoiceScore> scores, size_t n) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a].mean() > scores[b].mean(); });
  order.resize(std::min(n, order.size()));
  return order;
}

}  // namespace prefixd
