#include "engine/engine_checks.h"

#include <algorithm>
#include <string>

#include "cache/eviction.h"

namespace prefixd {

Status CheckOptions(const EngineOptions& o) {
  if (o.context < 2) return InvalidArgument("context " + std::to_string(o.context) + " is below 2 tokens");
  if (o.max_sequences < 1) return InvalidArgument("max-sequences must be at least 1");
  if (o.step_tokens < o.max_sequences) {
    return InvalidArgument("step-tokens " + std::to_string(o.step_tokens) + " is below max-sequences " +
                           std::to_string(o.max_sequences) +
                           ": every running sequence needs a row of a step");
  }
  if (!(o.step_seconds >= 0)) return InvalidArgument("step_seconds must be 0 or more");
  if (!o.eviction.empty() && std::ranges::count(EvictionPolicyNames(), o.eviction) == 0)
    return InvalidArgument("there is no eviction policy '" + o.eviction + "'");
  if (o.max_queue < 1) return InvalidArgument("max-queue must be at least 1");
  if (o.max_tokens_in_flight < o.context) {
    return InvalidArgument("a limit of " + std::to_string(o.max_tokens_in_flight) +
                           " tokens in flight refuses a prompt of " + std::to_string(o.context));
  }
  if (o.prompt_logit_rows < 1) return InvalidArgument("prompt_logit_rows must be at least 1");
  if (o.block_tokens < 1 || (o.block_tokens & (o.block_tokens - 1)) != 0) {
    return InvalidArgument("block-tokens " + std::to_string(o.block_tokens) + " is not a power of two");
  }
  // One block more than the longest sequence has, because a copy of a partly matching block needs its source
  // and its target at the same time.
  const int64_t need = (static_cast<int64_t>(o.context) + o.block_tokens - 1) / o.block_tokens + 1;
  if (static_cast<int64_t>(o.blocks) < need) {
    return InvalidArgument(std::to_string(o.blocks) + " KV blocks of " + std::to_string(o.block_tokens) +
                           " tokens do not hold one sequence of " + std::to_string(o.context) + " tokens (" +
                           std::to_string(need) + " needed): enlarge device-cache or lower context");
  }
  return Status::Ok();
}

Status CheckModelLimits(const EngineOptions& o, const StepLimits& model) {
  if (o.context <= model.context && o.step_tokens <= model.max_rows &&
      o.max_sequences <= model.max_logit_rows - o.prompt_logit_rows)
    return Status::Ok();
  return InvalidArgument(
      "context " + std::to_string(o.context) + ", step-tokens " + std::to_string(o.step_tokens) +
      " and max-sequences " + std::to_string(o.max_sequences) + " with " +
      std::to_string(o.prompt_logit_rows) +
      " prompt logit rows exceed what the model was loaded for: " + std::to_string(model.context) + ", " +
      std::to_string(model.max_rows) + " and " + std::to_string(model.max_logit_rows) + " logit rows in all");
}

Status CheckRequest(const EngineOptions& options, int vocab, const Request& request) {
  const int prompt = static_cast<int>(std::min<size_t>(request.prompt.size(), 1u << 30));
  if (prompt == 0) return InvalidArgument("the prompt is empty");
  if (prompt > options.context || (prompt == options.context && request.sampling.max_tokens > 0)) {
    return InvalidArgument("a prompt of " + std::to_string(prompt) +
                           " tokens leaves no room in a context of " + std::to_string(options.context));
  }
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= vocab) {
      return InvalidArgument("token id " + std::to_string(token) + " is outside the vocabulary of " +
                             std::to_string(vocab));
    }
  }
  for (const LogitBias& bias : request.sampling.logit_bias) {
    if (bias.token < 0 || bias.token >= vocab) {
      return InvalidArgument("logit_bias of token id " + std::to_string(bias.token) +
                             ", which is outside the vocabulary of " + std::to_string(vocab));
    }
  }
  if (request.constraint != nullptr && request.constraint->vocabulary().size() != vocab) {
    return InvalidArgument("a constraint of " + std::to_string(request.constraint->vocabulary().size()) +
                           " tokens for a vocabulary of " + std::to_string(vocab));
  }
  return Status::Ok();
}

}  // namespace prefixd
