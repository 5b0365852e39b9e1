// The fields that /v1/chat/completions and /v1/completions share: sampling, lengths, stop conditions and the
// form of the response. Plain values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "engine/request.h"

namespace prefixd {

struct GenerationRequest {
  std::string model;  // as in the request
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;  // unset: the default of the endpoint
  std::optional<uint64_t> seed;
  int n = 1;        // choices of one prompt
  int best_of = 1;  // sequences of one prompt; the n likeliest are returned; n <= best_of
  std::vector<std::string> stop;
  std::string cache_salt;
  bool read_cache = true;
  std::optional<int> truncate_prompt_tokens;  // keeps the last tokens of a prompt
  int prompt_logprobs = -1;                   // to return; sampling.prompt_logprobs may be more, for an echo
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool return_token_ids = false;
  bool tokens_as_ids = false;
};

// Reads and checks the fields. Each endpoint reads `logprobs` itself. Errors are left in `fields`.
GenerationRequest ReadGenerationRequest(Fields& fields, const ApiContext& context);

// 404 unless this server serves the model.
std::optional<ApiError> CheckModel(const std::string& model, const ApiContext& context);

// Sets *max_tokens so that prompt and output fit the context. `fallback` is reduced to the tokens that are
// left; an explicit `asked` that does not fit is an error. `noun` is "messages" or "prompt". On success
// *max_tokens >= 0.
std::optional<ApiError> ResolveMaxTokens(int context_length, int prompt_tokens, std::optional<int64_t> asked,
                                         int fallback, std::string_view noun, int* max_tokens);
// The error for a text with more bytes than the tokens of the context can represent; nothing when it may fit.
std::optional<ApiError> CheckPromptBytes(const ApiContext& context, size_t bytes, std::string_view noun);
// Applies `truncate_prompt_tokens` to a prompt.
void TruncatePrompt(const GenerationRequest& request, std::vector<TokenId>* tokens);
// The error when a response would contain too many log probabilities of prompt tokens. `tokens` is the sum
// over all prompts.
std::optional<ApiError> CheckPromptLogprobs(const GenerationRequest& request, size_t tokens,
                                            const ApiContext& context);

}  // namespace prefixd
