// What an inference takes in memory beyond its tokens, whose size is HeldBytes (choice_decoder.h). Inference
// reserves these bytes from the byte budget. Pure; any thread.
#pragma once

#include <cstddef>

#include "daemon/api/choice_decoder.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/inference.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

// A log probability of a prompt's token: in memory, and its JSON values and text while it is formatted. A
// response contains at most ApiLimits::max_prompt_logprobs.
inline constexpr size_t kHeldPromptEntry = 64;
inline constexpr size_t kFormatPromptEntry = 768;

// The prompts, and what each sequence copies of the request: here and in the engine.
size_t PromptBytes(const InferenceRequest& request);

// Formatting the log probabilities and the ids of generated tokens, as far as the response shows them.
size_t FormattedBytes(const GenerationRequest& request, const Tokenizer& tokenizer,
                      const GeneratedToken& token);
size_t FormattedBytes(const GenerationRequest& request, const Tokenizer& tokenizer, const TextPiece& piece);

}  // namespace prefixd
