// The limits of the engine, derived once at start from the options, the model and the memory. Pure; any
// thread.
//
// Invariant: the pool holds at least one sequence of `context` tokens, and one spare block: copying a partly
// matching block needs source and destination at the same time.
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

// The sizes of the model that the limits depend on.
struct ModelRequirements {
  int max_positions = 0;                  // the context that the model supports
  std::string max_positions_reason = {};  // the configuration key that says so
  size_t weight_bytes = 0;                // to be loaded
  size_t activation_bytes = 0;            // of one step
  KvLayout kv;                            // of one block
};

struct EngineLimits {
  int context = 0;
  int longest_context = 0;  // tokens of one sequence that the pool can hold, whatever the model supports
  int max_sequences = 0;
  int step_tokens = 0;
  int max_queue = 0;
  int block_tokens = 0;
  uint32_t blocks = 0;
  uint64_t device_cache_bytes = 0;
  size_t kv_bytes_per_token = 0;
  int sequences_that_fit = 0;         // sequences of `context` tokens each that fit at the same time
  std::vector<std::string> warnings;  // allowed, but risky
};

// Returns kInvalidArgument when the options contradict each other, the model or the machine, and
// kResourceExhausted when the memory does not hold the model and one short sequence.
Result<EngineLimits> DeriveEngineLimits(const Options& options, const ModelRequirements& model,
                                        const MemoryState& memory);

}  // namespace prefixd
