// The limits of the engine and the memory plan of the daemon, derived once at start from the options, the
// model and the memory. Pure; any thread.
//
// Invariants
//   1. The pool holds at least one sequence of `context` tokens, and one spare block: copying a partly
//      matching block needs source and destination at the same time.
//   2. The memory plan has every memory of the daemon that grows with an option. Its sum is at most the
//      memory that this process may ever have; with device-cache on auto, at most what is free. Where the
//      backend has a device of its own, that holds for its memory and for that of the host, each with its
//      parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/memory_limit.h"
#include "daemon/options.h"
#include "kernels/kv_layout.h"

namespace prefixd {

// A part of the memory plan: at most that many bytes.
struct MemoryPart {
  std::string key;   // in JSON: "weight_bytes"
  std::string name;  // "weights"
  uint64_t bytes = 0;
  std::string note;         // what it is, in a few words
  std::string remedy;       // what makes it smaller: "a smaller model", or options
  bool of_backend = false;  // in the memory of the backend: that of its device, where it has one
};
using MemoryPlan = std::vector<MemoryPart>;

uint64_t SumOf(const MemoryPlan& plan);
uint64_t BytesOf(const MemoryPlan& plan, std::string_view key);  // 0 when there is no such part
MemoryPlan PartsOf(const MemoryPlan& plan, bool of_backend);     // in the same order
// "weights 2.0 GiB (a smaller model), ...": the three largest parts, with what makes them smaller.
std::string LargestParts(const MemoryPlan& plan);

// What each part of the plan needs of the memory of a device and, with a host cache, of the memory of the
// host that is locked for copies; and what makes it less. `device` is as it was when the plan was made.
std::string DeviceMemoryText(const MemoryPlan& plan, const MemoryState& device);

// What the limits depend on.
struct ModelRequirements {
  int max_positions = 0;                  // the context that the model supports
  std::string max_positions_reason = {};  // the configuration key that says so
  KvLayout kv;                            // of one block
  // Of the device that has the blocks of the device cache, if it is not the host.
  std::optional<MemoryState> device = {};
  // The parts beside the blocks of the device cache. They never shrink when an argument grows.
  std::function<MemoryPlan(int context, uint32_t blocks)> other_parts;
};

struct EngineLimits {
  int context = 0;
  int longest_context = 0;  // tokens of one sequence that the pool can hold, whatever the model supports
  int max_sequences = 0;
  int step_tokens = 0;
  double step_seconds = 0;
  int max_queue = 0;
  int64_t max_tokens = 0;  // of the prompts of all unfinished requests
  int block_tokens = 0;
  uint32_t blocks = 0;
  uint64_t device_cache_bytes = 0;
  size_t kv_bytes_per_token = 0;
  int sequences_that_fit = 0;         // sequences of `context` tokens each that fit at the same time
  MemoryPlan memory;                  // the parts of the requirements, with the device cache
  std::vector<std::string> warnings;  // allowed, but risky
};

// Returns the value of max-tokens-in-flight for this context.
int64_t MaxTokensInFlight(const Options& options, int context);

// Returns the largest number of tokens of a step, by the option; auto: as many as fill a device of the
// backend, or the processors of the host.
int StepTokens(const Options& options, bool has_device);

// `memory` is that of the host. Returns kInvalidArgument when the options contradict each other, the model or
// the machine, and kResourceExhausted when the memory does not hold the model and one short sequence.
Result<EngineLimits> DeriveEngineLimits(const Options& options, const ModelRequirements& model,
                                        const MemoryState& memory);

}  // namespace prefixd
