// The fields that /v1/chat/completions and /v1/completions share: sampling, lengths, stops, what is to be
// returned. Plain values; any thread.
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
  std::string model;  // as asked for
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;  // nothing: the endpoint's default
  std::optional<uint64_t> seed;
  int n = 1;        // choices of one prompt
  int best_of = 1;  // sequences of one prompt, of which the n likeliest are its choices; n <= best_of
  std::vector<std::string> stop;
  std::string cache_salt;
  bool read_cache = true;
  std::optional<int> keep_last;  // tokens of a prompt; those before them are cut off
  int prompt_logprobs = -1;      // to be shown; sampling.prompt_logprobs also counts what an echo needs
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool return_token_ids = false;
  bool tokens_as_ids = false;
};

// Reads and checks them; log probabilities of the answer are the endpoint's own. Errors stay in `fields`.
GenerationRequest ReadGenerationRequest(Fields& fields, const ApiContext& context);

// 404 unless the model is served here.
std::optional<ApiError> CheckModel(const std::string& model, const ApiContext& context);

// Settles max_tokens against the context: a default is cut to what is left, an explicit one that does not fit
// is an error. `noun`: "messages" or "prompt". On success *max_tokens is at least 0 and prompt + *max_tokens
// fits.
std::optional<ApiError> FitContext(int context_length, int prompt_tokens, std::optional<int64_t> asked,
                                   int fallback, std::string_view noun, int* max_tokens);
// The error of a text that has more bytes than the context's tokens can stand for; nothing where it may fit.
std::optional<ApiError> FitBytes(const ApiContext& context, size_t bytes, std::string_view noun);
// Cuts a prompt as `keep_last` says.
void KeepLast(const GenerationRequest& request, std::vector<TokenId>* tokens);
// The error of log probabilities of more prompt tokens than one answer may hold. `tokens`: of all prompts
// together.
std::optional<ApiError> CheckPromptLogprobs(const GenerationRequest& request, size_t tokens,
                                            const ApiContext& context);

}  // namespace prefixd
