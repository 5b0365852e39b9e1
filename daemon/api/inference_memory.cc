#include "daemon/api/inference_memory.h"

#include "daemon/api/explain/prompt_record.h"
#include "daemon/api/response_json.h"

namespace prefixd {

size_t PromptBytes(const InferenceRequest& request) {
  constexpr size_t kObjects = 2048;  // of one sequence
  const SamplingParams& sampling = request.generation.sampling;
  size_t copied = kObjects + request.tenant.size() + sampling.logit_bias.size() * sizeof(LogitBias) +
                  2 * sampling.stop_token_ids.size() * sizeof(TokenId);
  for (const std::string& stop : request.generation.stop) copied += 2 * (sizeof(stop) + stop.size());
  size_t bytes = request.repeated_bytes;
  const auto sequences = static_cast<size_t>(request.generation.best_of);
  for (const InferencePrompt& prompt : request.prompts) {
    // The ids are held by the request and the format of the response, and by the engine for each sequence.
    bytes += (2 + sequences) * prompt.tokens.size() * sizeof(TokenId) + sequences * copied;
    if (prompt.record != nullptr) bytes += prompt.record->held_bytes();
  }
  return bytes;
}

size_t FormattedBytes(const GenerationRequest& request, const Tokenizer& tokenizer,
                      const GeneratedToken& token) {
  constexpr size_t kId = 48;  // a JSON value in a list that grows by doubling, and its text
  size_t bytes = request.return_token_ids ? kId : 0;
  if (request.sampling.logprobs >= 0) bytes += LogprobTextBytes(tokenizer, token);
  return bytes;
}

size_t FormattedBytes(const GenerationRequest& request, const Tokenizer& tokenizer, const TextPiece& piece) {
  size_t bytes = 0;
  for (const TextToken& entry : piece.tokens) bytes += FormattedBytes(request, tokenizer, entry.token);
  return bytes;
}

}  // namespace prefixd
