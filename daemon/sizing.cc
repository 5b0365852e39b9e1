#include "daemon/sizing.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "base/bytes.h"
#include "base/check.h"
#include "daemon/limit_table.h"

namespace prefixd {
namespace {

constexpr uint64_t kMaxBlocks = Limit<uint64_t>("kv-blocks");
constexpr int64_t kTokensInFlight = int64_t{1} << 20;
constexpr int64_t kContextsInFlight = 4;
constexpr uint32_t kSpareBlocks = 1;  // see invariant 1
constexpr uint32_t kFewestBlocks = kSpareBlocks + 1;
// The share of what the other parts leave free that an automatic device cache takes, with its books: of the
// memory of the host, which other programs use, and of that of a device of its own. The rest of the latter is
// for what CUDA rounds up and for log probabilities.
constexpr double kHostShare = 0.5, kDeviceShare = 0.9;
// More rows do not use a CPU better. The memory of a step grows with them. A GPU of 132 multiprocessors has
// work for 66 % of them in the products of 512 rows of an 8B model (tiles of 128 x 256 outputs), for 93 % at
// 1024 rows, and for 97 % at 2048, which take everybody's next token twice as long.
constexpr int64_t kAutoStepTokens = 512, kAutoStepTokensOfDevice = 1024;

// Returns the largest number in [low, high] for which `holds` is true; low - 1 when it holds for none.
// Requires that it holds for every number below one for which it holds.
template <typename Number, typename Predicate>
Number Largest(Number low, Number high, const Predicate& holds) {
  Number none = low - 1;
  while (low <= high) {
    const Number middle = low + (high - low) / 2;
    if (holds(middle)) {
      none = middle;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  return none;
}

int64_t BlocksOf(int64_t tokens, const KvLayout& kv) {
  return (tokens + kv.block_tokens - 1) / kv.block_tokens;
}

MemoryPlan PlanOf(const ModelRequirements& model, int context, uint32_t blocks) {
  MemoryPlan plan = model.other_parts(context, blocks);
  plan.push_back(
      {.key = "device_cache_bytes",
       .name = "device cache",
       .bytes = blocks * uint64_t{model.kv.BlockBytes()},
       .note = std::to_string(blocks) + " KV blocks of " + std::to_string(model.kv.block_tokens) + " tokens",
       .remedy = "device-cache, context",
       .of_backend = true});
  return plan;
}

// The parts that share a memory with the device cache.
MemoryPlan BesideCache(const ModelRequirements& model, const MemoryPlan& plan) {
  return model.device ? PartsOf(plan, /*of_backend=*/true) : plan;
}

// "memory" or "device memory", for messages.
std::string MemoryName(bool on_device) { return on_device ? "device memory" : "memory"; }

// The blocks of an automatic device cache for this context: they, and their books where they share a memory,
// may have a share of what the other parts leave free. 0 when that holds no sequence.
uint32_t AutomaticBlocks(const ModelRequirements& model, int context, const MemoryState& host) {
  const uint64_t available = model.device.value_or(host).available;
  const uint64_t others = SumOf(BesideCache(model, model.other_parts(context, 0)));
  if (available <= others) return 0;
  const auto share = static_cast<uint64_t>(static_cast<double>(available - others) *
                                           (model.device ? kDeviceShare : kHostShare));
  const auto high = static_cast<int64_t>(std::min(share / model.kv.BlockBytes(), kMaxBlocks));
  const int64_t blocks = Largest<int64_t>(kFewestBlocks, high, [&](int64_t n) {
    const MemoryPlan plan = PlanOf(model, context, static_cast<uint32_t>(n));
    return SumOf(BesideCache(model, plan)) - others <= share &&
           (!model.device || SumOf(PartsOf(plan, /*of_backend=*/false)) <= host.available);
  });
  return blocks < kFewestBlocks ? 0 : static_cast<uint32_t>(blocks);
}

// Chooses the blocks and, if it is automatic, the context: the longest one that the model supports and that
// the cache holds, where a longer context leaves less memory for the cache.
Result<uint32_t> ChooseAutomatically(const Options& options, const ModelRequirements& model,
                                     const MemoryState& host, int* context) {
  const int longest = options.context == kAuto ? model.max_positions : static_cast<int>(options.context);
  const int chosen = options.context != kAuto ? longest : Largest<int>(2, longest, [&](int tokens) {
    return AutomaticBlocks(model, tokens, host) >= kSpareBlocks + BlocksOf(tokens, model.kv);
  });
  const uint32_t blocks = chosen < 2 ? 0 : AutomaticBlocks(model, chosen, host);
  *context = chosen;
  if (blocks > 0) return blocks;
  const MemoryPlan plan = PlanOf(model, std::max(chosen, 2), kFewestBlocks);
  const bool on_device = model.device && SumOf(PartsOf(plan, /*of_backend=*/false)) <= host.available;
  const MemoryPlan parts = model.device ? PartsOf(plan, on_device) : plan;
  return ResourceExhausted(
      "the smallest plan takes " + FormatSize(SumOf(parts)) + ", but only " +
      FormatSize(on_device ? model.device->available : host.available) + " of " + MemoryName(on_device) +
      " are free; the largest parts and what makes them smaller: " + LargestParts(parts));
}

Result<uint32_t> BlocksOfOption(const Options& options, const ModelRequirements& model,
                                const MemoryState& memory) {
  const auto asked = static_cast<uint64_t>(options.device_cache);
  const std::string what = "device-cache: " + FormatSize(asked) + " ";
  if (const uint64_t total = model.device.value_or(memory).total; total > 0 && asked > total) {
    return InvalidArgument(what + "are more than the " + FormatSize(total) + " of " +
                           MemoryName(model.device.has_value()) +
                           " that this process may ever have; lower it, or leave it at auto");
  }
  const uint64_t blocks = asked / model.kv.BlockBytes();
  if (blocks > kMaxBlocks) {
    return InvalidArgument(what + "make " + std::to_string(blocks) + " blocks; the limit is " +
                           std::to_string(kMaxBlocks) + ", so lower it, or enlarge block-tokens");
  }
  if (blocks < kFewestBlocks) {
    return ResourceExhausted("a device cache of " + FormatSize(asked) + " holds no sequence: a block of " +
                             std::to_string(model.kv.block_tokens) + " tokens takes " +
                             FormatSize(model.kv.BlockBytes()) + "; enlarge device-cache");
  }
  return static_cast<uint32_t>(blocks);
}

Status CheckContext(const Options& options, const ModelRequirements& model, const EngineLimits& limits) {
  const std::string asked = "context: " + std::to_string(options.context) + " tokens ";
  if (limits.context > limits.longest_context) {
    const uint64_t need =
        static_cast<uint64_t>(BlocksOf(limits.context, model.kv) + kSpareBlocks) * model.kv.BlockBytes();
    return InvalidArgument(asked + "do not fit the device cache of " + FormatSize(limits.device_cache_bytes) +
                           ", which holds " + std::to_string(limits.longest_context) +
                           "; set device-cache to " + std::to_string(need) +
                           " bytes or more, or lower context");
  }
  if (limits.context < 2)
    return InvalidArgument("context: the device cache leaves room for 1 token; enlarge device-cache");
  if (limits.max_tokens < limits.context) {
    return InvalidArgument("max-tokens-in-flight: " + std::to_string(limits.max_tokens) +
                           " is below the context of " + std::to_string(limits.context) +
                           " tokens, so no request could fill it; enlarge it, or lower context");
  }
  return Status::Ok();
}

Status CheckOptions(const Options& options, const ModelRequirements& model) {
  const int step_tokens = StepTokens(options, model.device.has_value());
  if (step_tokens < options.max_sequences) {
    return InvalidArgument("step-tokens: " + std::to_string(step_tokens) + " is below max-sequences, " +
                           std::to_string(options.max_sequences) +
                           "; each running sequence needs a token in every step");
  }
  if (options.context != kAuto && options.context > model.max_positions) {
    return InvalidArgument("context: " + std::to_string(options.context) + " tokens are more than the " +
                           std::to_string(model.max_positions) + " that the model supports (" +
                           model.max_positions_reason + ")");
  }
  return Status::Ok();
}

// "3.0 GiB of device memory: weights 1.0 GiB, device cache 2.0 GiB".
std::string SumText(const MemoryPlan& parts, const char* memory) {
  std::string text = FormatSize(SumOf(parts)) + " of " + memory;
  const char* separator = ": ";
  for (const MemoryPart& part : parts) {
    text += separator + part.name + " " + FormatSize(part.bytes);
    separator = ", ";
  }
  return text;
}

Status CheckMemory(const MemoryState& memory, const MemoryPlan& plan, const std::string& name,
                   EngineLimits* limits) {
  const uint64_t sum = SumOf(plan);
  const std::string parts = "; the largest parts and what makes them smaller: " + LargestParts(plan);
  if (memory.total > 0 && sum > memory.total) {
    return ResourceExhausted("the memory plan of " + FormatSize(sum) + " is more than the " +
                             FormatSize(memory.total) + " of " + name + " that this process may ever have" +
                             parts);
  }
  if (memory.available > 0 && sum > memory.available) {
    limits->warnings.push_back("the memory plan of " + FormatSize(sum) + " is more than the " +
                               FormatSize(memory.available) + " of " + name + " that are free now" + parts);
  }
  return Status::Ok();
}

}  // namespace

uint64_t SumOf(const MemoryPlan& plan) {
  uint64_t sum = 0;
  for (const MemoryPart& part : plan) sum += part.bytes;
  return sum;
}

uint64_t BytesOf(const MemoryPlan& plan, std::string_view key) {
  const auto found = std::ranges::find(plan, key, &MemoryPart::key);
  return found == plan.end() ? 0 : found->bytes;
}

MemoryPlan PartsOf(const MemoryPlan& plan, bool of_backend) {
  MemoryPlan parts;
  std::ranges::copy_if(plan, std::back_inserter(parts),
                       [of_backend](const MemoryPart& part) { return part.of_backend == of_backend; });
  return parts;
}

std::string LargestParts(const MemoryPlan& plan) {
  MemoryPlan sorted = plan;
  std::ranges::stable_sort(sorted, std::ranges::greater(), &MemoryPart::bytes);
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(sorted.size(), 3); ++i) {
    text += (text.empty() ? "" : ", ") + sorted[i].name + " " + FormatSize(sorted[i].bytes) + " (" +
            sorted[i].remedy + ")";
  }
  return text;
}

std::string DeviceMemoryText(const MemoryPlan& plan, const MemoryState& device) {
  std::string text = "the plan has " + SumText(PartsOf(plan, /*of_backend=*/true), "device memory") +
                     "; when it was made, " + FormatSize(device.available) + " of " +
                     FormatSize(device.total) +
                     " were free. Lower device-cache, or free the device of others";
  if (BytesOf(plan, "host_cache_bytes") == 0) return text;
  MemoryPlan pinned;
  std::ranges::copy_if(plan, std::back_inserter(pinned), [](const MemoryPart& part) {
    return part.key == "pinned_bytes" || part.key == "host_cache_bytes";
  });
  return text + ". It has " + SumText(pinned, "pinned memory of the host") +
         "; if that is what lacks, lower host-cache";
}

int64_t MaxTokensInFlight(const Options& options, int context) {
  if (options.max_tokens_in_flight != kAuto) return options.max_tokens_in_flight;
  const int64_t all = (options.max_queue + options.max_sequences) * context;
  return std::min(all, std::max(kTokensInFlight, kContextsInFlight * context));
}

int StepTokens(const Options& options, bool has_device) {
  if (options.step_tokens != kAuto) return static_cast<int>(options.step_tokens);
  return static_cast<int>(
      std::max<int64_t>(has_device ? kAutoStepTokensOfDevice : kAutoStepTokens, options.max_sequences));
}

Result<EngineLimits> DeriveEngineLimits(const Options& options, const ModelRequirements& model,
                                        const MemoryState& memory) {
  PREFIXD_CHECK(model.kv.BlockBytes() > 0 && model.max_positions > 0) << model.max_positions;
  PREFIXD_RETURN_IF_ERROR(CheckOptions(options, model));
  EngineLimits limits;
  limits.block_tokens = static_cast<int>(options.block_tokens);
  limits.max_sequences = static_cast<int>(options.max_sequences);
  limits.step_tokens = StepTokens(options, model.device.has_value());
  limits.step_seconds = static_cast<double>(options.step_milliseconds) / 1000;
  limits.max_queue = static_cast<int>(options.max_queue);
  limits.kv_bytes_per_token = model.kv.TokenBytes();
  if (options.device_cache == kAuto) {
    PREFIXD_ASSIGN_OR_RETURN(limits.blocks, ChooseAutomatically(options, model, memory, &limits.context));
  } else {
    PREFIXD_ASSIGN_OR_RETURN(limits.blocks, BlocksOfOption(options, model, memory));
  }
  limits.device_cache_bytes = limits.blocks * uint64_t{model.kv.BlockBytes()};
  limits.longest_context = static_cast<int>(std::min<uint64_t>(
      uint64_t{limits.blocks - kSpareBlocks} * model.kv.block_tokens, std::numeric_limits<int>::max()));
  if (options.context != kAuto) {
    limits.context = static_cast<int>(options.context);
  } else if (options.device_cache != kAuto) {
    limits.context = std::min(model.max_positions, limits.longest_context);
  }
  limits.max_tokens = MaxTokensInFlight(options, limits.context);
  PREFIXD_RETURN_IF_ERROR(CheckContext(options, model, limits));
  limits.memory = PlanOf(model, limits.context, limits.blocks);
  if (model.device) {
    PREFIXD_RETURN_IF_ERROR(
        CheckMemory(*model.device, PartsOf(limits.memory, /*of_backend=*/true), MemoryName(true), &limits));
  }
  const MemoryPlan host = model.device ? PartsOf(limits.memory, /*of_backend=*/false) : limits.memory;
  PREFIXD_RETURN_IF_ERROR(CheckMemory(memory, host, MemoryName(false), &limits));
  limits.sequences_that_fit =
      static_cast<int>((limits.blocks - kSpareBlocks) / BlocksOf(limits.context, model.kv));
  return limits;
}

}  // namespace prefixd
