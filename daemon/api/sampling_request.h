// The sampling and log probability fields of a request. One table per kind of field. Plain values; any
// thread.
#pragma once

#include <cstdint>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "engine/request.h"

namespace prefixd {

// The rows of what the functions below read.
void AddSamplingFields(FieldTable* table);
void AddPromptLogprobsField(FieldTable* table);
void AddChatLogprobsFields(FieldTable* table);
void AddCompletionLogprobsField(FieldTable* table);

// Sets the sampling fields and min_tokens, but not seed, max_tokens and log probabilities. Absent fields keep
// their values.
void ReadSampling(RequestFields& fields, const ApiContext& context, SamplingParams* sampling);

// Chat has `logprobs` as a boolean and `top_logprobs`; completions has `logprobs` as a number. Return -1 for
// none.
int ReadChatLogprobs(RequestFields& fields, const ApiContext& context);
int ReadCompletionLogprobs(RequestFields& fields, const ApiContext& context);
// Reads `prompt_logprobs`. Returns -1 for none. In the request -1 means the whole vocabulary, if the server
// allows it.
int ReadPromptLogprobs(RequestFields& fields, const ApiContext& context);

}  // namespace prefixd
