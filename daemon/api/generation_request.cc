#include "daemon/api/generation_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <limits>

#include "daemon/api/sampling_request.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr int64_t kMaxTokensAsked = std::numeric_limits<int32_t>::max();

constexpr std::string_view kStopSchema =
    R"({"type":["string","array"],"minLength":1,"items":{"type":"string","minLength":1}})";

struct SwitchField {
  std::string_view name;
  bool GenerationRequest::*member;
};
constexpr SwitchField kSwitches[] = {
    {"stream", &GenerationRequest::stream},
    {"cache_prompt", &GenerationRequest::read_cache},
    {"include_stop_str_in_output", &GenerationRequest::include_stop},
    {"skip_special_tokens", &GenerationRequest::skip_special_tokens},
    {"reuse_generated_ids", &GenerationRequest::reuse_ids},
    {"return_token_ids", &GenerationRequest::return_token_ids},
    {"return_tokens_as_token_ids", &GenerationRequest::tokens_as_ids},
};

// Highest precedence first.
constexpr std::string_view kMaxTokensNames[] = {"max_completion_tokens", "max_tokens", "n_predict"};

// Every choice holds its own copies of this text.
bool CheckLength(RequestFields& fields, std::string_view name, std::string_view text,
                 const ApiLimits& limits) {
  if (text.size() <= limits.max_stop_or_salt_bytes) return true;
  fields.Fail(name,
              "'" + std::string(name) + "' may contain texts of at most " +
                  std::to_string(limits.max_stop_or_salt_bytes) + " bytes, not " +
                  std::to_string(text.size()) + ".",
              "string_above_max_length");
  return false;
}

ApiError WrongStop(const std::string& name, const json::value& found) {
  return BadParameter(name,
                      "'" + name + "' must be a string or an array of strings, not " + QuoteJson(found) + ".",
                      "invalid_type");
}

}  // namespace

void ReadStops(RequestFields& fields, const std::string& name, const ApiLimits& limits,
               GenerationRequest* request) {
  const json::value* stop = fields.Find(name);
  if (stop == nullptr) return;
  json::array one;
  if (stop->is_string()) one.push_back(*stop);
  if (!stop->is_string() && !stop->is_array()) {
    return fields.Fail(WrongStop(name, *stop));
  }
  const json::array& all = stop->is_array() ? stop->get_array() : one;
  if (static_cast<int>(request->stop.size() + all.size()) > limits.max_stops) {
    return fields.Fail(name,
                       "'" + name + "' may contain at most " + std::to_string(limits.max_stops) +
                           " strings, not " + std::to_string(all.size()) + ".",
                       "invalid_value");
  }
  for (const json::value& text : all) {
    if (!text.is_string()) return fields.Fail(WrongStop(name, *stop));
    if (text.get_string().empty())
      return fields.Fail(name, "'" + name + "' must not contain an empty string.", "invalid_value");
    if (!CheckLength(fields, name, text.get_string(), limits)) return;
    request->stop.emplace_back(text.get_string());
  }
}

void AddGenerationFields(FieldTable* table) {
  AddSamplingFields(table);
  for (const SwitchField& field : kSwitches) table->Bool(field.name);
  for (const std::string_view name : kMaxTokensNames) table->Integer(name, -1, kMaxTokensAsked);
  table->String("model").Integer("n", 1, Limit("choices-per-prompt"));
  table->Integer("seed", -0x1p63, 0x1p63).Any("stop", kStopSchema);
  table->Integer("truncate_prompt_tokens", 1, kMaxTokensAsked);
  AddPromptLogprobsField(table);
  table->Object("stream_options",
                R"({"include_usage":{"type":["boolean","null"]},
                    "continuous_usage_stats":{"type":["boolean","null"]}})");
  table->String("cache_salt").String("request_id");
  table->String("cache_scope").String("prompt_cache_key");
  AddCacheFields(table);
  table->Ignored({"user", "safety_identifier", "metadata", "service_tier", "priority", "id_slot",
                  "spaces_between_special_tokens", "timings_per_token", "return_progress"});
}

GenerationRequest ReadGenerationRequest(RequestFields& fields, const ApiContext& context) {
  GenerationRequest request;
  request.model = fields.String("model").value_or(context.model_names.front());
  request.sampling = context.defaults;
  request.reuse_ids = context.reuse_generated_ids;
  ReadSampling(fields, context, &request.sampling);
  for (const SwitchField& field : kSwitches)
    request.*field.member = fields.Bool(field.name, request.*field.member);
  for (const std::string_view name : kMaxTokensNames) {
    // In llama.cpp -1 means "as many as fit".
    const auto number = fields.Integer(name, -1, kMaxTokensAsked);
    if (number && *number >= 0 && !request.max_tokens) request.max_tokens = number;
  }
  if (request.max_tokens && request.sampling.min_tokens > *request.max_tokens) {
    fields.Fail("min_tokens",
                "'min_tokens' must not exceed the maximum number of tokens, " +
                    std::to_string(*request.max_tokens) + ".",
                "invalid_value");
  }
  request.n = request.best_of = static_cast<int>(fields.Integer("n", 1, context.limits.max_n).value_or(1));
  if (const auto seed =
          fields.Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    request.seed = static_cast<uint64_t>(*seed);
  }
  ReadStops(fields, "stop", context.limits, &request);
  if (const auto keep = fields.Integer("truncate_prompt_tokens", 1, kMaxTokensAsked))
    request.truncate_prompt_tokens = static_cast<int>(*keep);
  request.prompt_logprobs = request.sampling.prompt_logprobs = ReadPromptLogprobs(fields, context);
  if (request.stream && request.prompt_logprobs >= 0) {
    fields.Fail("prompt_logprobs", "'prompt_logprobs' cannot be combined with 'stream'.", "invalid_value");
  }
  if (const json::object* options = fields.Object("stream_options")) {
    RequestFields inner(*options, "stream_options.");
    request.include_usage = inner.Bool("include_usage", false);
    request.continuous_usage = inner.Bool("continuous_usage_stats", false);
    if (inner.error()) fields.Fail(*inner.error());
  }
  request.cache = ReadCacheRequest(fields);
  if (request.cache.prewarm) request.max_tokens = 0;
  if (const auto salt = fields.String("cache_salt")) {
    if (salt->empty()) fields.Fail("cache_salt", "'cache_salt' must not be empty.", "invalid_value");
    if (CheckLength(fields, "cache_salt", *salt, context.limits)) request.cache_salt = *salt;
  }
  if (const auto key = fields.String("prompt_cache_key")) {
    if (CheckLength(fields, "prompt_cache_key", *key, context.limits)) request.cache_key = *key;
  }
  if (const auto scope = fields.String("cache_scope")) {
    if (*scope != "tenant" && *scope != "public")
      fields.Fail("cache_scope", "'cache_scope' is 'tenant' or 'public'.", "invalid_value");
    request.public_scope = *scope == "public";
  }
  return request;
}

std::optional<ApiError> CheckModel(const std::string& model, const ApiContext& context) {
  if (std::find(context.model_names.begin(), context.model_names.end(), model) != context.model_names.end())
    return std::nullopt;
  return ApiError{.status = 404,
                  .code = "model_not_found",
                  .param = "model",
                  .message = "The model '" + model + "' does not exist; this server serves '" +
                             context.model_names.front() + "'."};
}

std::optional<ApiError> ResolveMaxTokens(int context_length, int prompt_tokens, std::optional<int64_t> asked,
                                         int fallback, std::string_view noun, int* max_tokens) {
  const std::string limit =
      "This model's maximum context length is " + std::to_string(context_length) + " tokens. However, ";
  const std::string name(noun);
  const int64_t left = context_length - prompt_tokens;
  if (left < 0 || (left == 0 && asked != 0)) {
    return BadParameter(name,
                        limit + "your " + name + " resulted in " + std::to_string(prompt_tokens) +
                            " tokens. Please reduce the length of the " + name + ".",
                        "context_length_exceeded");
  }
  if (asked && *asked > left) {
    return BadParameter(name,
                        limit + "you requested " + std::to_string(prompt_tokens + *asked) + " tokens (" +
                            std::to_string(prompt_tokens) + " in the " + name + ", " +
                            std::to_string(*asked) + " in the completion). Please reduce the length of the " +
                            name + " or completion.",
                        "context_length_exceeded");
  }
  *max_tokens = static_cast<int>(asked.value_or(std::min<int64_t>(left, fallback)));
  return std::nullopt;
}

std::optional<ApiError> CheckPromptBytes(const ApiContext& context, size_t bytes, std::string_view noun) {
  if (context.max_prompt_bytes == 0 || bytes <= context.max_prompt_bytes) return std::nullopt;
  const std::string name(noun);
  return BadParameter(name,
                      "This model's maximum context length is " + std::to_string(context.context_length) +
                          " tokens. However, your " + name + " resulted in more: " + std::to_string(bytes) +
                          " bytes, but the longest text of that many tokens has " +
                          std::to_string(context.max_prompt_bytes) + ". Please reduce the length of the " +
                          name + ".",
                      "context_length_exceeded");
}

void TruncatePrompt(const GenerationRequest& request, std::vector<TokenId>* tokens) {
  if (!request.truncate_prompt_tokens ||
      tokens->size() <= static_cast<size_t>(*request.truncate_prompt_tokens))
    return;
  tokens->erase(tokens->begin(), tokens->end() - *request.truncate_prompt_tokens);
}

std::optional<ApiError> CheckPromptLogprobs(const GenerationRequest& request, size_t tokens,
                                            const ApiContext& context) {
  if (request.sampling.prompt_logprobs < 0) return std::nullopt;
  const size_t entries =
      tokens * static_cast<size_t>(request.n) * (static_cast<size_t>(request.sampling.prompt_logprobs) + 1);
  if (entries <= context.limits.max_prompt_logprobs) return std::nullopt;
  return BadParameter(request.prompt_logprobs >= 0 ? "prompt_logprobs" : "logprobs",
                      "The request asks for " + std::to_string(entries) +
                          " log probabilities of prompt tokens; one response contains at most " +
                          std::to_string(context.limits.max_prompt_logprobs) +
                          ". Ask for fewer per token, or send fewer prompts at once.",
                      "invalid_value");
}

}  // namespace prefixd
