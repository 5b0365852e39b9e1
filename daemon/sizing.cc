#include "daemon/sizing.h"

#include <algorithm>
#include <limits>

#include "base/bytes.h"
#include "base/check.h"
#include "daemon/limit_table.h"

namespace prefixd {
namespace {

constexpr uint64_t kMaxBlocks = Limit<uint64_t>("kv-blocks");
constexpr int kSpareBlocks = 1;  // see the invariant

// Memory for weights and activations: everything but the cache.
uint64_t FixedBytes(const ModelRequirements& model) { return model.weight_bytes + model.activation_bytes; }

Result<uint64_t> DeviceCacheBytes(const Options& options, const ModelRequirements& model,
                                  const MemoryState& memory, EngineLimits* limits) {
  if (options.device_cache == kAuto) {
    if (memory.available > FixedBytes(model)) return (memory.available - FixedBytes(model)) / 2;
    return ResourceExhausted("the weights take " + FormatSize(model.weight_bytes) + " and the activations " +
                             FormatSize(model.activation_bytes) + ", but only " +
                             FormatSize(memory.available) + " of memory are free");
  }
  const auto asked = static_cast<uint64_t>(options.device_cache);
  const std::string what = "device-cache: " + FormatSize(asked) + " ";
  if (memory.total > 0 && asked > memory.total) {
    return InvalidArgument(what + "are more than the " + FormatSize(memory.total) +
                           " of memory that this process may ever have; lower it, or leave it at auto");
  }
  if (asked / model.kv.BlockBytes() > kMaxBlocks) {
    return InvalidArgument(what + "make " + std::to_string(asked / model.kv.BlockBytes()) +
                           " blocks; the limit is " + std::to_string(kMaxBlocks) +
                           ", so lower it, or enlarge block-tokens");
  }
  if (memory.available > 0 && asked + FixedBytes(model) > memory.available) {
    limits->warnings.push_back(what + "and " + FormatSize(FixedBytes(model)) +
                               " of weights and activations are more than the " +
                               FormatSize(memory.available) + " of memory that are free now");
  }
  return asked;
}

Result<int> Context(const Options& options, const ModelRequirements& model, const EngineLimits& limits) {
  if (options.context == kAuto) return std::min(model.max_positions, limits.longest_context);
  const std::string asked = "context: " + std::to_string(options.context) + " tokens ";
  if (options.context > model.max_positions) {
    return InvalidArgument(asked + "are more than the " + std::to_string(model.max_positions) +
                           " that the model supports (" + model.max_positions_reason + ")");
  }
  if (options.context > limits.longest_context) {
    const uint64_t need =
        ((static_cast<uint64_t>(options.context) + limits.block_tokens - 1) / limits.block_tokens +
         kSpareBlocks) *
        model.kv.BlockBytes();
    return InvalidArgument(asked + "do not fit the device cache of " + FormatSize(limits.device_cache_bytes) +
                           ", which holds " + std::to_string(limits.longest_context) +
                           "; set device-cache to " + std::to_string(need) +
                           " bytes or more, or lower context");
  }
  return static_cast<int>(options.context);
}

}  // namespace

Result<EngineLimits> DeriveEngineLimits(const Options& options, const ModelRequirements& model,
                                        const MemoryState& memory) {
  PREFIXD_CHECK(model.kv.BlockBytes() > 0 && model.max_positions > 0) << model.max_positions;
  EngineLimits limits;
  limits.block_tokens = static_cast<int>(options.block_tokens);
  limits.max_sequences = static_cast<int>(options.max_sequences);
  limits.step_tokens = static_cast<int>(options.step_tokens);
  limits.max_queue = static_cast<int>(options.max_queue);
  limits.kv_bytes_per_token = model.kv.TokenBytes();
  if (limits.step_tokens < limits.max_sequences) {
    return InvalidArgument("step-tokens: " + std::to_string(limits.step_tokens) +
                           " is below max-sequences, " + std::to_string(limits.max_sequences) +
                           "; each running sequence needs a token in every step");
  }
  PREFIXD_ASSIGN_OR_RETURN(limits.device_cache_bytes, DeviceCacheBytes(options, model, memory, &limits));
  const uint64_t block_bytes = model.kv.BlockBytes();
  const uint64_t blocks = std::min(limits.device_cache_bytes / block_bytes, kMaxBlocks);
  if (blocks < kSpareBlocks + 1) {
    return ResourceExhausted("a device cache of " + FormatSize(limits.device_cache_bytes) +
                             " holds no sequence: a block of " + std::to_string(limits.block_tokens) +
                             " tokens takes " + FormatSize(block_bytes) + "; enlarge device-cache");
  }
  limits.blocks = static_cast<uint32_t>(blocks);
  limits.device_cache_bytes = blocks * block_bytes;
  limits.longest_context = static_cast<int>(
      std::min<uint64_t>((blocks - kSpareBlocks) * limits.block_tokens, std::numeric_limits<int>::max()));
  PREFIXD_ASSIGN_OR_RETURN(limits.context, Context(options, model, limits));
  if (limits.context < 2)
    return InvalidArgument("context: the device cache leaves room for 1 token; enlarge device-cache");
  const uint64_t blocks_of_one = (limits.context + limits.block_tokens - 1) / limits.block_tokens;
  limits.sequences_that_fit = static_cast<int>((blocks - kSpareBlocks) / blocks_of_one);
  return limits;
}

}  // namespace prefixd
