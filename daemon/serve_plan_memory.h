// The parts of the memory plan beside the KV blocks, as functions of the options and the model. Each is an
// upper bound: docs/OPERATIONS.md says of what. Pure, except for ProgramBytes.
//
// Threads: the main thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "daemon/options.h"
#include "daemon/sizing.h"
#include "daemon/tier_plan.h"
#include "engine/loaded_model.h"
#include "kernels/backend.h"

namespace prefixd {

// The sizes of one step of the forward pass, of at most `step_tokens` (StepTokens). It has a logit row for
// every sequence that generates, and more rows for prompt log probabilities.
StepLimits StepLimitsFor(const Options& options, int step_tokens, int context);

// The program with its libraries, the tokenizer and the chat template, as far as they are in memory at the
// moment; and what threads and the heap need later. Call it when the model has been summarised.
uint64_t ProgramBytes(const Options& options, int compute_threads);

// Ids, block keys and counts of the tokens of all unfinished requests.
uint64_t TokenBytes(const Options& options, int context, int vocab);

// What the rows of two steps report: the engine delivers the results of one while the next one runs.
uint64_t ResultBytes(const Options& options, int vocab);

// All parts. `program_bytes` is the result of ProgramBytes. Requires that `backend` summarised the model.
MemoryPlan PartsBesideKv(const Options& options, const ModelSummary& model, const Backend& backend,
                         const TierPlan& tiers, const KvLayout& layout, uint64_t program_bytes,
                         int step_tokens, int context, uint32_t blocks);

}  // namespace prefixd
