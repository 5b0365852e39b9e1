// The fields that /v1/chat/completions and /v1/completions share: sampling, lengths, stops, what is to be
// returned. One table each: numbers with their ranges, switches, and what prefixd lacks. Plain values; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
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
  int n = 1;
  std::vector<std::string> stop;
  std::string cache_salt;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool return_token_ids = false;
  bool tokens_as_ids = false;
};

// Reads and checks them; logprobs are the endpoint's own (see the two below). Errors stay in `fields`.
GenerationRequest ReadGenerationRequest(Fields& fields, const ApiContext& context);

// A field that would change the answer and that prefixd does not know yet, and the value that means "not
// asked for".
enum class Neutral { kAbsent, kFalse, kZero, kOne, kEmpty, kText };
struct LackingField {
  std::string_view name;
  Neutral neutral;
  std::string_view what;
};
// An error for those that are neither absent nor neutral: of both endpoints, and of `more`.
void RefuseWhatIsLacking(Fields& fields, std::span<const LackingField> more);

// Chat: `logprobs` true or false, and `top_logprobs`. Completions: `logprobs` as a number. -1: none.
int ReadChatLogprobs(Fields& fields, const ApiContext& context);
int ReadCompletionLogprobs(Fields& fields, const ApiContext& context);

// 404 unless the model is served here.
std::optional<ApiError> CheckModel(const std::string& model, const ApiContext& context);

// Settles max_tokens against the context: a default is cut to what is left, an explicit one that does not fit
// is an error. `noun`: "messages" or "prompt". On success *max_tokens is at least 0 and prompt + *max_tokens
// fits.
std::optional<ApiError> FitContext(int context_length, int prompt_tokens, std::optional<int64_t> asked,
                                   int fallback, std::string_view noun, int* max_tokens);

}  // namespace prefixd
