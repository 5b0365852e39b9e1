// What a request takes of its tenant's tokens. Nothing, where no key is required.
//
// Threads: any; one at a time for an exchange.
#pragma once

#include <cstdint>
#include <optional>

#include "daemon/api/inference.h"

namespace prefixd {

int64_t PromptTokens(const InferenceRequest& request);
// Takes the prompts, or returns the 429, and sets the headers of the exchange. Sets request->share.
std::optional<ApiError> TakePrompts(const ApiContext& context, Exchange& exchange, InferenceRequest* request);
// Adds tokens of the answer. Below 0: returns those of prompts that were not accepted.
void ChargeTokens(const ApiContext& context, const Exchange& exchange, int64_t tokens);

}  // namespace prefixd
