#include "daemon/api/tenant_use.h"

#include <utility>

namespace prefixd {

int64_t PromptTokens(const InferenceRequest& request) {
  size_t tokens = 0;
  for (const InferencePrompt& prompt : request.prompts) tokens += prompt.tokens.size();
  return static_cast<int64_t>(tokens);
}

std::optional<ApiError> TakePrompts(const ApiContext& context, Exchange& exchange,
                                    InferenceRequest* request) {
  const Caller* const caller = exchange.request().caller.get();
  if (caller == nullptr) return std::nullopt;
  const int64_t weight = caller->key.limits.weight;
  request->share = {.tenant = caller->tenant, .weight = weight == 0 ? 1.0 : static_cast<double>(weight)};
  const double now = context.clock->NowSeconds();
  std::optional<ApiError> error = caller->rates->TakePrompt(PromptTokens(*request), now);
  exchange.SetHeaders(caller->rates->Headers(now));
  if (error) context.answers->AddRefused(AnswerCounters::Rate::kTokens);
  return error;
}

void ChargeTokens(const ApiContext& context, const Exchange& exchange, int64_t tokens) {
  const Caller* const caller = exchange.request().caller.get();
  if (caller != nullptr) caller->rates->AddTokens(tokens, context.clock->NowSeconds());
}

}  // namespace prefixd
