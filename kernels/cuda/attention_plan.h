// AttentionPlan: how the rows of a step are cut into the units of the attention kernels (kernel_table.h), and
// where their partials lie. Results do not depend on it: it decides only how many warps share the work.
//
// A sequence with many rows gets a unit for each 16 query rows, which walks over all spans; several of them
// make a team that reads the KV once. One with few rows gets a unit for each span, so that a long context has
// many warps, as long as the partials of all such units are not too many.
//
// Sequences of one row by spans, without a window, share the units of a whole span that they have in the same
// blocks, from the first span on: their rows are members of one unit, or of a team where they are too many.
// Values; one owner.
//
// Invariants
//   1. Every (row, head, span that the row sees) is in exactly one unit.
//   2. Units of one step have disjoint partials, and the partials are [0, partials).
//   3. units.size() and partials are at most what Bound says for the limits.
//   4. The units from `singles` on are teams of kTeamUnits: kernel_table.h says what a team is.
//   5. `reads` counts the blocks of one KV head that units and teams read; `saved` how many more they would
//      read if no sequences shared units.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/batch.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/model_plan.h"

namespace prefixd::cuda {

struct AttentionPlan {
  std::vector<AttentionUnit> units;
  std::vector<AttentionMember> members;
  size_t singles = 0;             // units without a team, which come first
  std::vector<FoldPlace> places;  // [rows][heads]
  int32_t partials = 0;
  uint64_t reads = 0, saved = 0;
};

// Sequences with at most so many rows get a unit for each span.
inline constexpr int kMostRowsBySpans = 16;
inline constexpr int32_t kMostSpanPartials = 1 << 16;

// For a layer with this window (0: none) over blocks of so many tokens. `by_spans` replaces kMostRowsBySpans,
// for tests. Reuses the memory of *plan.
void PlanAttention(const BatchView& batch, const ModelShape& shape, int window, int block_tokens,
                   AttentionPlan* plan, int by_spans = kMostRowsBySpans);

// The launches of a plan: of its single units and of its teams. Each may have no unit; then it does not take
// place. `params` has everything else, and all units.
std::array<AttentionParams, 2> LaunchesOf(const AttentionPlan& plan, const AttentionParams& params);

struct AttentionBound {
  size_t units = 0, members = 0, partials = 0;
};
// The most that any step within the limits needs.
AttentionBound BoundAttention(const ModelShape& shape, const StepLimits& limits);

}  // namespace prefixd::cuda
