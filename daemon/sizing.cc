#include "daemon/sizing.h"

#include <algorithm>
#include <limits>

#include "base/bytes.h"

namespace prefixd {
namespace {

constexpr uint64_t kMaxBlocks = uint64_t{1} << 28;  // books of a block cost memory too
constexpr int kSpareBlocks = 1;                     // see the invariant

Result<uint64_t> DeviceCacheBytes(const Options& options, const ModelFacts& model, uint64_t available) {
  if (options.device_cache != kAuto) return static_cast<uint64_t>(options.device_cache);
  if (available <= model.weight_bytes) {
    return ResourceExhausted("the weights take " + FormatSize(model.weight_bytes) + ", but only " +
                             FormatSize(available) + " of memory are free");
  }
  return (available - model.weight_bytes) / 2;
}

Result<int> Context(const Options& options, const ModelFacts& model, const Limits& limits) {
  if (options.context == kAuto) return std::min(model.max_positions, limits.longest_context);
  const std::string asked = "context: " + std::to_string(options.context) + " tokens ";
  if (options.context > model.max_positions) {
    return InvalidArgument(asked + "are more than the " + std::to_string(model.max_positions) +
                           " the model is made for");
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

Result<Limits> DeriveLimits(const Options& options, const ModelFacts& model, uint64_t available) {
  Limits limits;
  limits.block_tokens = static_cast<int>(options.block_tokens);
  limits.max_sequences = static_cast<int>(options.max_sequences);
  limits.step_tokens = static_cast<int>(options.step_tokens);
  limits.max_queue = static_cast<int>(options.max_queue);
  limits.kv_bytes_per_token = model.kv.TokenBytes();
  if (limits.step_tokens < limits.max_sequences) {
    return InvalidArgument("step-tokens: " + std::to_string(limits.step_tokens) +
                           " is below max-sequences, " + std::to_string(limits.max_sequences) +
                           "; each running sequence needs a token of a step");
  }
  PREFIXD_ASSIGN_OR_RETURN(limits.device_cache_bytes, DeviceCacheBytes(options, model, available));
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
  return limits;
}

std::vector<std::pair<std::string, std::string>> DescribeLimits(const Limits& limits) {
  return {
      {"context", std::to_string(limits.context) + " tokens (the device cache would hold " +
                      std::to_string(limits.longest_context) + ")"},
      {"max-sequences", std::to_string(limits.max_sequences)},
      {"step-tokens", std::to_string(limits.step_tokens)},
      {"max-queue", std::to_string(limits.max_queue)},
      {"device-cache", FormatSize(limits.device_cache_bytes) + ": " + std::to_string(limits.blocks) +
                           " blocks of " + std::to_string(limits.block_tokens) + " tokens, " +
                           FormatSize(limits.kv_bytes_per_token) + " per token"},
  };
}

}  // namespace prefixd
