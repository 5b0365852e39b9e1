// DrawPlan: what the draw kernel (kernel_table.h) needs for the LogitRows of a step, as arrays that go to the
// device, and how its results come back. Values; one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/logit_row.h"

namespace prefixd::cuda {

struct DrawPlan {
  std::vector<DrawSpec> specs;  // one for each row, in their order; DrawSpec::row counts them
  std::vector<LogitBias> bias;
  std::vector<TokenCount> counts;
  std::vector<int32_t> banned;
  std::vector<uint32_t> allowed;
  int32_t top = 0;  // entries of the log probabilities of all rows
};

// Reuses the memory of *plan. kResourceExhausted: no memory for it. Ids outside of the vocabulary are left
// out of `banned`.
Status PlanDraws(std::span<const LogitRow> rows, int vocab, DrawPlan* plan);

// Sets the results of the rows from what the kernel wrote: results[rows], tokens and logits[plan.top].
// kResourceExhausted: no memory for them.
Status TakeDraws(const DrawPlan& plan, std::span<const DrawResult> results, std::span<const int32_t> tokens,
                 std::span<const float> logits, std::span<LogitRow> rows);

}  // namespace prefixd::cuda
