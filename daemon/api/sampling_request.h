// The fields of a request that say how tokens are drawn and which log probabilities come with them. One table
// per kind of field. Plain values; any thread.
#pragma once

#include <cstdint>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "engine/request.h"

namespace prefixd {

// Fills all but seed, lengths other than min_tokens, and log probabilities. What `fields` does not say keeps
// its value.
void ReadSampling(Fields& fields, const ApiContext& context, SamplingParams* sampling);

// Chat: `logprobs` true or false, and `top_logprobs`. Completions: `logprobs` as a number. -1: none.
int ReadChatLogprobs(Fields& fields, const ApiContext& context);
int ReadCompletionLogprobs(Fields& fields, const ApiContext& context);
// `prompt_logprobs`: -1: none. In the request -1 asks for the whole vocabulary, where the server gives it.
int ReadPromptLogprobs(Fields& fields, const ApiContext& context);

}  // namespace prefixd
