// Every limit of the engine, derived once at start from options, model and memory. Pure; any thread.
//
// Invariant: the pool holds at least one sequence of `context` tokens, with the spare block that a copy of a
// partly matching block needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/memory_limit.h"
#include "daemon/options.h"
#include "kernels/kv_layout.h"

namespace prefixd {

struct ModelFacts {
  int max_positions = 0;                  // context the model was made for
  std::string max_positions_reason = {};  // why so many
  size_t weight_bytes = 0;                // still to be loaded
  size_t activation_bytes = 0;            // of one step
  KvLayout kv;                            // of one block
};

struct Limits {
  int context = 0;
  int longest_context = 0;  // what the pool would hold, whatever the model is made for
  int max_sequences = 0;
  int step_tokens = 0;
  int max_queue = 0;
  int block_tokens = 0;
  uint32_t blocks = 0;
  uint64_t device_cache_bytes = 0;
  size_t kv_bytes_per_token = 0;
  int sequences_that_fit = 0;         // of `context` tokens each, at once
  std::vector<std::string> warnings;  // what is allowed, but may go wrong
};

// kInvalidArgument when the options contradict each other, the model or the machine; kResourceExhausted when
// memory does not hold the model and one short sequence.
Result<Limits> DeriveLimits(const Options& options, const ModelFacts& model, const MemoryState& memory);

}  // namespace prefixd
