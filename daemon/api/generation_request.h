// The fields that /v1/chat/completions and /v1/completions share: sampling, lengths, stop conditions and the
// form of the response. Plain values; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/cache_request.h"
#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "engine/request.h"
#include "text/output/output_parser.h"

namespace prefixd {

struct GenerationRequest {
  std::string model;  // as in the request
  SamplingParams sampling;
  std::shared_ptr<const grammar::Constraint> constraint;  // null: any answer
  std::string constraint_field, constraint_code;          // of an error about it
  std::optional<int64_t> max_tokens;                      // unset: the default of the endpoint
  std::optional<uint64_t> seed;
  int n = 1;        // choices to return for each prompt
  int best_of = 1;  // sequences to generate for each prompt, of which the n likeliest are returned; >= n
  std::vector<std::string> stop;
  std::string cache_salt;
  std::string cache_key;      // names a conversation, to those who ask what it has found; empty: none
  bool public_scope = false;  // the prompt is cached for all tenants
  CacheRequest cache;
  bool read_cache = true;
  bool reuse_ids = false;                     // an answer that is sent back keeps the ids that were generated
  std::optional<int> truncate_prompt_tokens;  // keeps only that many last tokens of a prompt
  int prompt_logprobs = -1;                   // as requested; `echo` may raise sampling.prompt_logprobs
  bool stream = false;
  bool include_usage = false;     // a last chunk with the usage
  bool continuous_usage = false;  // the usage so far in every chunk, with or without include_usage
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool return_token_ids = false;
  bool tokens_as_ids = false;
  OutputOptions output;        // how the text of an answer is parsed, if it is at all
  size_t most_calls = 0;       // with which an answer ends
  bool function_call = false;  // calls have the older form
  bool parses_output() const { return output.format != nullptr || output.reasoning != nullptr; }
};

// The rows of the fields that ReadGenerationRequest reads, and of those that no API needs.
void AddGenerationFields(FieldTable* table);

// Reads and checks the fields. Records errors in `fields`. Does not read `logprobs`, which has another form
// in each endpoint, nor the constraint (constraint_request.h).
GenerationRequest ReadGenerationRequest(RequestFields& fields, const ApiContext& context);

// Reads stop strings from the field `name`, after those that *request has.
void ReadStops(RequestFields& fields, const std::string& name, const ApiLimits& limits,
               GenerationRequest* request);

// Returns an error with status 404 unless this server serves the model.
std::optional<ApiError> CheckModel(const std::string& model, const ApiContext& context);

// Sets *max_tokens so that prompt and output fit the context. It is `asked` if set, else `fallback` or the
// number of tokens that are left, whichever is less. Returns an error when `asked` does not fit, or when the
// prompt leaves no token and `asked` is not 0. `noun` names the prompt in the error: "messages" or "prompt".
// On success *max_tokens >= 0.
std::optional<ApiError> ResolveMaxTokens(int context_length, int prompt_tokens, std::optional<int64_t> asked,
                                         int fallback, std::string_view noun, int* max_tokens);
// Returns an error when a text of `bytes` bytes has more tokens than the context for certain, because it is
// longer than context.max_prompt_bytes. Returns nothing when the text may fit.
std::optional<ApiError> CheckPromptBytes(const ApiContext& context, size_t bytes, std::string_view noun);
// Applies `truncate_prompt_tokens` to a prompt.
void TruncatePrompt(const GenerationRequest& request, std::vector<TokenId>* tokens);
// Returns an error when a response would contain too many log probabilities of prompt tokens. `tokens` is the
// number of tokens of all prompts together.
std::optional<ApiError> CheckPromptLogprobs(const GenerationRequest& request, size_t tokens,
                                            const ApiContext& context);

}  // namespace prefixd
